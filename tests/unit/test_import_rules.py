"""Who may import whom, who may read a clock, how long things may get: read from the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("common", "broker", "httpfront")
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
CORE = [
    *("dispatch", "handlers", "waiters", "timers", "state", "topic", "piece", "cutting", "subscription"),
    *("limits", "records", "peers", "core", "publishing", "reading", "leasing", "receipts", "due", "leases", "ledger"),
    *("admin", "admin_user", "index", "ages", "commits", "gauges", "ledger_changes", "request_log"),
    *("letter", "keys", "delayed", "calendar", "contents", "topic_settings", "store.burst"),
]
SOCKETS_AND_DISK = {
    *("zmq", "socket", "select", "selectors", "asyncio", "ssl", "subprocess", "multiprocessing", "threading"),
    *("os", "io", "pathlib", "shutil", "tempfile", "sqlite3", "mmap", "fcntl", "signal"),
}
CHANCE_AND_TIME = {"time", "datetime", "random", "secrets", "uuid"}
CLOCK_CALLS = {
    *(f"time.{name}" for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns")),
    *("time.sleep", "time.localtime", "time.gmtime", "datetime.now", "datetime.utcnow", "datetime.today"),
    *("time.clock_gettime", "time.clock_gettime_ns"),
    *("date.today", "os.urandom", "SystemClock", "stopwatch"),
}
MOST_LINES, MOST_FUNCTION_LINES = 300, 60


def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


def imported(source: ast.AST) -> set[str]:
    """Full names of the modules that are imported anywhere in it, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def packages(source: ast.AST) -> set[str]:
    return {name.partition(".")[0] for name in imported(source)}


def calls(source: ast.AST) -> set[str]:
    """What is called or handed on by a name or a dotted name, as `time.monotonic` or `datetime.now`."""
    seen = set()
    for node in ast.walk(source):
        if isinstance(node, ast.Attribute):
            seen.add(f"{ast.unparse(node.value).rpartition('.')[2]}.{node.attr}")
        elif isinstance(node, ast.Name):
            seen.add(node.id)
    return seen


def functions(source: ast.AST) -> Iterator[tuple[str, int]]:
    """Names and lengths in lines."""
    for node in ast.walk(source):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno
            yield node.name, node.end_lineno - node.lineno + 1


def importers(package: str) -> set[str]:
    return {module for module in MODULES if package in packages(tree(module))}


MAINS = ("broker.__main__", "broker.start", "broker.tools.")


def of(package: str) -> list[str]:
    return [module for module in MODULES if module.partition(".")[0] == package]


def test_there_is_something_to_look_at() -> None:
    assert {f"broker.{name}" for name in CORE} <= set(MODULES)
    assert {"broker.server.loop", "httpfront.gateway.broker_socket", "common.clock"} <= set(MODULES)


@pytest.mark.parametrize("module", of("common"))
def test_what_is_shared_imports_neither_side(module: str) -> None:
    assert not packages(tree(module)) & {"broker", "httpfront", "falcon", "waitress"}


@pytest.mark.parametrize("module", of("broker"))
def test_a_broker_imports_nothing_of_the_fronts(module: str) -> None:
    assert not packages(tree(module)) & {"httpfront", "falcon", "waitress", "greenlet"}


@pytest.mark.parametrize("module", of("httpfront"))
def test_a_front_imports_nothing_of_the_brokers(module: str) -> None:
    assert "broker" not in packages(tree(module))


@pytest.mark.parametrize("module", list(MODULES))
def test_nothing_of_the_tests_is_imported(module: str) -> None:
    assert not packages(tree(module)) & {"tests", "pytest", "hypothesis", "bench"}


def test_zmq_is_where_the_sockets_are() -> None:
    sockets = {f"broker.{name}" for name in ("server", "listener", "gate", "door", "tools.control")}
    sockets.add("httpfront.gateway.broker_socket")
    assert importers("zmq") == sockets | {"common.keys.curve"}, (
        "common.keys.curve makes keys and sets options; it has no socket"
    )


def test_sqlite_is_where_stores_are() -> None:
    assert all(module.startswith("broker.store.") for module in importers("apsw"))
    assert importers("sqlite3") == set(), "Python's own may be of a version that damages write-ahead logs"


def test_falcon_and_waitress_are_in_the_front_only() -> None:
    for package in ("falcon", "waitress"):
        assert all(module.startswith("httpfront.") for module in importers(package))


def test_the_link_and_the_peers_are_told_of_sockets_and_hold_none() -> None:
    for module in ("httpfront.gateway.broker_status", "broker.server.peers", "common.protocol.wire"):
        assert not packages(tree(module)) & {"zmq", "socket", "select", "os", "time"}


@pytest.mark.parametrize("name", CORE)
def test_the_core_knows_no_sockets_no_disk_no_clock_and_no_chance(name: str) -> None:
    assert not packages(tree(f"broker.{name}")) & (SOCKETS_AND_DISK | CHANCE_AND_TIME)


@pytest.mark.parametrize("module", [each for each in of("broker") if not each.startswith(MAINS)])
def test_a_broker_reads_no_clock_below_main(module: str) -> None:
    assert not packages(tree(module)) & CHANCE_AND_TIME
    assert not calls(tree(module)) & CLOCK_CALLS


def test_shared_code_reads_the_clock_in_one_place() -> None:
    readers = {module for module in of("common") if packages(tree(module)) & {"time", "random", "secrets"}}
    assert readers <= {"common.clock", "common.tools.new_api_key"}, "and where secrets are made"
    for module in of("common"):
        if module != "common.clock":
            assert not calls(tree(module)) & (CLOCK_CALLS - {"SystemClock", "stopwatch"}), module


def test_the_environment_is_read_where_settings_and_processes_are() -> None:
    readers = {each for each in MODULES if calls(tree(each)) & {"os.environ", "os.getenv", "os.environb"}}
    assert readers <= {"common.config", "common.process.start", "common.process.supervise"}


@pytest.mark.parametrize("module", list(MODULES))
def test_modules_and_functions_stay_short_enough_to_be_seen_whole(module: str) -> None:
    lines = MODULES[module].read_text(encoding="utf-8").count("\n")
    assert lines <= MOST_LINES
    assert [each for each in functions(tree(module)) if each[1] > MOST_FUNCTION_LINES] == []


@pytest.mark.parametrize("module", list(MODULES))
def test_every_module_says_what_it_is(module: str) -> None:
    assert ast.get_docstring(tree(module))


@pytest.mark.parametrize(
    ("source", "caught"),
    [
        ("import zmq", "zmq"),
        ("import zmq.utils.monitor as m", "zmq"),
        ("from broker import topic", "broker"),
        ("from broker.state.topic import Topic", "broker"),
        ("def f():\n    import time", "time"),
        ("if TYPE_CHECKING:\n    from httpfront.api.app import create_app", "httpfront"),
    ],
)
def test_an_import_is_found_in_every_form(source: str, caught: str) -> None:
    """The negative control of the above."""
    assert caught in packages(ast.parse(source))


@pytest.mark.parametrize(
    ("source", "caught"),
    [
        ("x = time.monotonic()", "time.monotonic"),
        ("f = datetime.datetime.now", "datetime.now"),
        ("g(key=os.urandom)", "os.urandom"),
        ("SystemClock().now()", "SystemClock"),
        ("RequestLog(stopwatch)", "stopwatch"),
    ],
)
def test_a_clock_is_found_in_every_form(source: str, caught: str) -> None:
    assert caught in calls(ast.parse(source)) & CLOCK_CALLS


def test_a_long_function_is_found() -> None:
    source = "def f():\n" + "    pass\n" * MOST_FUNCTION_LINES
    assert list(functions(ast.parse(source))) == [("f", MOST_FUNCTION_LINES + 1)]
