"""The client is independent of the server, and its core has no sockets, clock or randomness, as the sources show."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.e2e.cluster import ROOT
from tests.support.table import table
from tests.unit.test_import_rules import (
    CHANCE_AND_TIME,
    MOST_FUNCTION_LINES,
    MOST_LINES,
    SOCKETS_AND_DISK,
    functions,
    imported,
    packages,
)

SOURCES = sorted((ROOT / "client" / "src").rglob("*.py"))
CORE = (
    *("http_call", "flow", "errors", "message", "cluster", "responses", "encoding", "calls", "admin_calls", "retry"),
    *("exchange", "consumer", "worker", "streaming", "listing", "gaps", "batching", "deprecation"),
    *(f"session/{name}" for name in ("ops", "pending", "lanes", "reads", "state")),
    *("slots", "slot_calls"),
)
OURS = {"broker", "httpfront", "common", "bench", "tests"}
OTHERS = {"httpx", "click", "rich", "websockets"}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def path_of(module: str) -> Path:
    return ROOT / "client" / "src" / "fanmail" / f"{module}.py"


@table("path", SOURCES)
def test_it_imports_nothing_of_the_server(path: Path) -> None:
    assert not packages(tree(path)) & OURS


@table("module", CORE)
def test_the_core_knows_no_sockets_no_clock_and_no_chance(module: str) -> None:
    # `datetime` is a type of values there; nothing asks it for the time.
    assert not packages(tree(path_of(module))) & ((SOCKETS_AND_DISK | CHANCE_AND_TIME | OTHERS) - {"datetime"})
    assert ".now(" not in path_of(module).read_text()


def test_only_the_command_needs_click_and_rich() -> None:
    users = {path.parent.name for path in SOURCES if packages(tree(path)) & {"click", "rich"}}
    assert users == {"cli"}


def test_only_the_connection_of_sessions_needs_websockets() -> None:
    users = {path.name for path in SOURCES if "websockets" in packages(tree(path))}
    assert users == {"connection.py"}
    importers = {path.name for path in SOURCES if "fanmail.session.connection" in imported(tree(path))}
    assert importers == {"engine.py"}, "which imports it when a session is made"


@table("path", SOURCES)
def test_modules_are_short_and_say_what_they_are(path: Path) -> None:
    assert path.read_text().count("\n") <= MOST_LINES
    assert [each for each in functions(tree(path)) if each[1] > MOST_FUNCTION_LINES] == []
    assert ast.get_docstring(tree(path))
