"""The documents outside of docs/ as pages of the site, and links between all of them as links between its pages.

MkDocs calls the functions named `on_...`. A link that leads nowhere is left as it is, so that `--strict` reports it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
    "client/README.md": "client.md",
    "deploy/README.md": "deploy.md",
    "bench/README.md": "bench.md",
}
"""Documents outside of docs/, and the names of their pages."""
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?(?=\))")
_FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    for document, page in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / document).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    sources = {uri: document for document, uri in ELSEWHERE.items()}
    folder = Path(sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")).parent

    def on_the_site(link: re.Match[str]) -> str:
        target = os.path.normpath(folder / link["path"])
        place = ELSEWHERE.get(target) or ELSEWHERE.get(f"{target}/README.md") or target.removeprefix("docs/")
        if files.get_file_from_path(place) is None and (ROOT / target).is_file():
            files.append(File.generated(config, place, abs_src_path=str(ROOT / target)))
        return place + (link["anchor"] or "")

    parts, end = [], 0
    for block in _FENCED.finditer(markdown):
        parts += [_LINK.sub(on_the_site, markdown[end : block.start()]), block[0]]
        end = block.end()
    return "".join(parts) + _LINK.sub(on_the_site, markdown[end:])
