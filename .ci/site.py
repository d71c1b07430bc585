"""The documents outside of docs/ as pages of the site, pages made of what the programs say of themselves, and links.

MkDocs calls the functions named `on_...`. A link that leads nowhere is left as it is, so that `--strict` reports it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "client/src")]

from fanmail.cli.main import command  # noqa: E402 - found by the line above
from httpfront.admin.metrics_page import broker_table, candidate_table, front_table  # noqa: E402

ELSEWHERE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
    "client/README.md": "client.md",
    "client-js/README.md": "client-js.md",
    "examples/chat/README.md": "example-chat.md",
    "deploy/README.md": "deploy.md",
    "bench/README.md": "bench.md",
}
"""Documents outside of docs/, and the names of their pages."""
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?(?=\))")
_FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


def help_page() -> str:
    """Return what `--help` prints, of every command."""
    served = [(f"bin/{each.stem}", each.read_text()) for each in sorted((ROOT / "bin/_help").glob("*.txt"))]
    parts = ["# Every option", "What `--help` prints. In the package, `bin/NAME` is `fanmail-server NAME`."]
    for name, text in (*served, *_helps(click.Context(command, info_name="fanmail"))):
        parts.append(f"## {name}\n\n```text\n{text.strip()}\n```")
    return "\n\n".join(parts) + "\n"


def _helps(context: click.Context) -> Iterator[tuple[str, str]]:
    yield context.command_path, context.get_help()
    if isinstance(context.command, click.Group):
        for name, each in sorted(context.command.commands.items()):
            yield from _helps(click.Context(each, info_name=name, parent=context))


def metrics_page() -> str:
    """Return the tables of all metrics."""
    return (
        "# Metrics\n\nAt `/metrics` of a front's operations port, in the text format of Prometheus; what to watch and "
        f"which alerts there are: [operations.md](operations.md).\n\n## Fronts\n\n{front_table()}\n## Brokers\n\n"
        f"With the label `broker`.\n\n{broker_table()}\n## Candidates of replicated brokers\n\nWith the labels "
        f"`broker` and `host`.\n\n{candidate_table()}"
    )


MADE: dict[str, Callable[[], str]] = {"options.md": help_page, "metrics.md": metrics_page}
"""Pages without a document."""


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    for document, page in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / document).read_text(encoding="utf-8")))
    for page, make in MADE.items():
        files.append(File.generated(config, page, content=make()))
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
