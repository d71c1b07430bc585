"""The documents are right where that can be seen without a server: blocks, links, names of files, lengths.

Their commands are run by tests/e2e/test_documents.py.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.state.topic_settings import parse_rules
from common.cluster.description import load_cluster
from common.config import BrokerSettings, FrontSettings
from common.config_sources import load
from fanmail.cli.main import command
from fanmail.forward.config_file import parse_targets
from tests.support.documents import ROOT, Block, Command, anchors, blocks, commands, documents, links, prose
from tests.support.table import table

DOCUMENTS = documents(
    "*.md", "docs/*.md", "client/*.md", "client-js/*.md", "examples/**/*.md", "deploy/**/*.md", "bench/*.md"
)
RUN = {"sh", "python", "javascript"}
"""Languages whose blocks are run; those of JavaScript in Node.js and Chromium, by tests/e2e/test_client_js.py."""
SHOWN = {"", "text", "http", "ini", "nginx", "haproxy", "dockerfile"}
"""Languages of blocks that are for the eye only, and must not hold a command of ours."""
IN_A_BROWSER = {"html", "js"}
"""Languages whose blocks tests/e2e/test_stream_clients.py and test_session_clients.py run."""
IN_OTHER_LANGUAGES = {"go", "java", "javascript", "php"}
"""Languages whose blocks tests/client/forward/test_verification.py and tests/client/test_languages.py run."""
PROSE = {"docs/architecture.md", "docs/files.md"}
"""Documents that walk through the files."""
OURS = re.compile(r"^\s*(?:\$ )?(?:bin/|bench/run|fanmail |pip |python3? |curl\b.*:(?:81|91)\d\d\b)", re.MULTILINE)
_PINNED = re.compile(r"^([\w-]+)(?:\[[\w,]*\])?==", re.MULTILINE)
_FILE = re.compile(r"(?<![\w./*-])[\w*./]*(?:\w\.py|\w/)(?![\w/*])")


def cases(*languages: str) -> list[Block]:
    return [block for document in DOCUMENTS for block in blocks(document) if block.language in languages]


def where(block: object) -> str:
    return block.where if isinstance(block, Block) else ""


# --- blocks


def test_every_block_is_of_a_language_that_some_test_looks_at() -> None:
    known = RUN | SHOWN | IN_A_BROWSER | IN_OTHER_LANGUAGES | set(PARSERS)
    unknown = [f"{block.where}: {block.language}" for document in DOCUMENTS for block in blocks(document)]
    assert not [each for each in unknown if each.rpartition(": ")[2] not in known], f"known are {sorted(known)}"
    pages = [(block.document, block.language) for block in cases(*IN_A_BROWSER)]
    assert pages == [("docs/sessions.md", "html"), ("docs/streams.md", "html"), ("docs/streams.md", "js")]


def test_commands_stand_in_blocks_that_are_run() -> None:
    hidden = [block.where for block in cases(*SHOWN) if OURS.search(block.text)]
    assert not hidden, "a command of ours belongs in a block of sh"
    for document in set(DOCUMENTS) - {"bench/README.md"}:  # whose runs take minutes
        indented = [line for line in prose(document).splitlines() if re.match(r" {4}|\t", line) and OURS.match(line)]
        assert not indented, f"{document}: a command belongs in a block of sh"


def test_a_block_of_sh_falls_into_commands() -> None:
    text = "# first\nfanmail a   # 204: none\nfor x in 1 2; do\n  echo '# no'\ndone\n\n"
    text += "cat <<END\n a # b\nEND\na | \\\n b &  # c\n"
    assert [(each.line, each.text, each.comment) for each in commands(Block("x.md", 10, "sh", text))] == [
        (11, "fanmail a", "204: none"),
        (12, "for x in 1 2; do\n  echo '# no'\ndone", ""),
        (16, "cat <<END\n a # b\nEND", ""),
        (19, "a | \\\n b &", "c"),
    ]
    with pytest.raises(AssertionError, match=r"x\.md:3: bash does not understand"):
        list(commands(Block("x.md", 3, "sh", "if true; then\n")))
    assert Command(Block("x.md", 3, "sh", ""), 5, "", "").where == "x.md:5"


# --- settings and other data


def toml(block: Block, folder: Path) -> None:
    """A file of ours is read by what reads it in earnest."""
    tables = tomllib.loads(block.text)
    strange = set(tables) - {"cluster", "brokers", "fronts", "fanmail", "topics", "keys", "forward", "targets"}
    assert not strange, f"{strange} is in no file of ours"
    file = folder / "file.toml"
    file.write_text(block.text)
    if "fanmail" in tables:
        load(BrokerSettings, "broker", [f"--config={file}"])
        load(FrontSettings, "front", [f"--config={file}"])
    if "brokers" in tables:
        load_cluster(file, insecure=tables.get("fanmail", {}).get("insecure", False))
    parse_rules(tables.get("topics", []))
    if "targets" in tables:
        secrets = folder / "secrets"
        secrets.write_text(f"whsec_{'A' * 32}\n")
        secrets.chmod(0o600)
        assert parse_targets(tables | {"forward": {**tables["forward"], "secrets_file": str(secrets)}}, {})


def yaml(block: Block, folder: Path) -> None:
    module = pytest.importorskip("yaml") if not os.environ.get("CI") else __import__("yaml")
    assert list(module.safe_load_all(block.text))


def parse_json(block: Block, folder: Path) -> None:
    """One value, or one a line."""
    try:
        json.loads(block.text)
    except ValueError:
        for line in block.text.splitlines():
            json.loads(line)


PARSERS: dict[str, Callable[[Block, Path], None]] = {"toml": toml, "yaml": yaml, "json": parse_json}


@pytest.mark.parametrize("block", cases(*PARSERS), ids=where)
def test_data_can_be_read(block: Block, tmp_path: Path) -> None:
    PARSERS[block.language](block, tmp_path)


# --- what is referred to


@table("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    for link in links(document):
        path, _, anchor = link.partition("#")
        target = (ROOT / document).parent / path if path else ROOT / document
        assert target.exists(), f"{document}: {link}"
        if anchor:
            there = anchors(str(target.resolve().relative_to(ROOT)))
            assert anchor in there, f"{document}: {link} is none of {sorted(there)}"


@table("document", sorted(PROSE))
def test_files_that_are_named_are_there(document: str) -> None:
    """A name without a folder is in one that the document has named before."""
    folders, missing, named = {"."}, [], 0
    for number, line in enumerate((ROOT / document).read_text(encoding="utf-8").splitlines(), 1):
        found = _FILE.findall(re.sub(r"\]\([^)]*\)|https?:\S+", "", line))
        files = [each for each in found if each.endswith(".py") or f"`{each}`" in line]
        folders |= {str(Path(each).parent) if each.endswith(".py") else each for each in files if "/" in each}
        named += len(files)
        missing += [f"{document}:{number}: {each}" for each in files if not _is_there(each, folders)]
    assert not missing
    assert named > 20


def _is_there(name: str, folders: set[str]) -> bool:
    places = [ROOT, *(ROOT / folder for folder in folders)]
    return any(next(place.glob(name), None) for place in places)


def test_the_architecture_stays_short() -> None:
    assert len((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_every_document_is_reached_from_the_readme() -> None:
    linked = {os.path.normpath(link.partition("#")[0]) for link in links("README.md")}
    there = set(documents("*.md", "docs/*.md", "client/README.md", "client-js/README.md", "bench/README.md")) - {
        "README.md"
    }
    assert there - linked == set()


def test_every_command_is_in_the_table_of_commands() -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    ours = {f"bin/{path.name}" for path in (ROOT / "bin").iterdir() if not path.name.startswith("_")}
    assert not [each for each in ours | set(command.commands) if not re.search(rf"`{each}[` ]", page)]


def test_every_dependency_has_its_reason() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    pinned = {name for file in ROOT.glob("requirements*.txt") for name in _PINNED.findall(file.read_text())}
    assert len(pinned) > 20
    assert not [each for each in sorted(pinned) if not re.search(rf"^\|.*\b{each}\b.*\|", page, re.MULTILINE)]


def test_badges_say_what_the_package_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pictures = ROOT / "docs" / "pictures"
    assert f"version: {project['version']}" in (pictures / "version.svg").read_text()
    assert f"licence: {project['license']}" in (pictures / "licence.svg").read_text()
    oldest = project["requires-python"].removeprefix(">=")
    assert f"Python: {oldest} or newer" in (pictures / "python.svg").read_text()


def test_every_alert_has_a_section_of_the_runbook() -> None:
    text = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
    alerts = re.findall(r"- alert: (\w+)\n(?:(?!- alert:)[^\n]*\n)*? +runbook_url: \S+/runbook/#(\w+)", text)
    assert len(alerts) == text.count("- alert:") > 20
    assert {anchor for _, anchor in alerts} <= anchors("docs/runbook.md")
    assert [anchor for name, anchor in alerts if anchor != name.lower()] == []
