"""Who may import whom, who may read a clock, how long things may get: read from the sources."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("common", "broker", "httpfront", "bench", "fanmail_server")

GROUND = "common common.protocol common.cluster"
"""What every folder above `common` may import."""

RULES = {
    # Folder: the folders that it may import beside itself | what else but the standard library and `ANYWHERE`.
    # Each package's own files (`broker/*.py`) are a folder by its name, but for its mains.
    "common": "| configargparse",
    "common.cluster": "common | tomlkit",
    "common.protocol": "common common.cluster | ",
    "common.keys": "common common.cluster | zmq",
    "common.process": "common common.cluster | ",
    "common.tools": "common common.cluster common.keys common.process | tomlkit",
    "broker": f"{GROUND} | ",
    "broker.state": f"{GROUND} broker | sortedcontainers",
    "broker.store": f"{GROUND} broker | ",
    "broker.store.sqlite": f"{GROUND} common.process broker broker.store | apsw xxhash",
    "broker.replica": f"{GROUND} broker broker.state broker.store | ",
    "broker.replica.engine": "broker broker.replica |",
    "broker.replica.jetstream": f"{GROUND} broker.replica broker.replica.engine | nats nkeys",
    "broker.replica.postgres": f"{GROUND} broker broker.replica broker.replica.engine | psycopg",
    "broker.operations": f"{GROUND} broker broker.state | ",
    "broker.dispatch": f"{GROUND} broker broker.state broker.operations | ",
    "broker.server": (
        f"{GROUND} common.keys common.process broker broker.state broker.store broker.replica broker.dispatch | zmq"
    ),
    "broker.tools": (
        f"{GROUND} common.keys common.process broker broker.state broker.store broker.store.sqlite broker.replica"
        " broker.replica.engine broker.replica.jetstream broker.replica.postgres | tqdm zmq"
    ),
    "httpfront": "common common.keys | falcon greenlet",
    "httpfront.server": "common common.process httpfront | greenlet httptools waitress websockets",
    "httpfront.gateway": f"{GROUND} common.keys httpfront | zmq greenlet",
    "httpfront.formats": f"{GROUND} httpfront | falcon",
    "httpfront.middleware": f"{GROUND} common.keys httpfront httpfront.formats | falcon",
    "httpfront.delivery": f"{GROUND} httpfront httpfront.gateway httpfront.formats | falcon",
    "httpfront.streams": (f"{GROUND} common.keys httpfront httpfront.gateway httpfront.formats | falcon"),
    "httpfront.sessions": (
        f"{GROUND} common.keys httpfront httpfront.gateway httpfront.formats httpfront.streams | falcon websockets"
    ),
    "httpfront.openapi": "common httpfront httpfront.formats httpfront.middleware | falcon",
    "httpfront.api": (
        f"{GROUND} httpfront httpfront.gateway httpfront.formats httpfront.middleware httpfront.delivery"
        " httpfront.streams httpfront.sessions httpfront.openapi | falcon"
    ),
    "httpfront.admin": (
        f"{GROUND} common.process httpfront httpfront.server httpfront.gateway httpfront.formats httpfront.middleware"
        " httpfront.delivery httpfront.streams httpfront.sessions httpfront.api | falcon prometheus_client"
    ),
    "bench.harness": f"{GROUND} common.keys common.process common.tools |",
    "bench.loads": f"{GROUND} common.keys bench.harness | zmq",
    "bench.rivals": (
        f"{GROUND} common.process httpfront httpfront.server bench.harness bench.loads | falcon nats redis waitress zmq"
    ),
    "bench.measures": (
        f"{GROUND} common.process broker broker.state broker.store broker.store.sqlite bench.harness bench.loads"
        " bench.rivals |"
    ),
    "fanmail_server": "|",
    "bench.report": "common bench.harness bench.measures | matplotlib",
}
ANYWHERE = {"msgspec"}
MAINS = (
    *(
        "broker.__main__",
        "broker.opening",
        "broker.replicated",
        "broker.start",
        "bench.__main__",
        "fanmail_server.__main__",
    ),
    *("httpfront.__main__", "httpfront.start", "httpfront.front", "httpfront.settings"),
)
"""The composition roots, which may import everything of their own package and of `common`."""

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
CORE = ("broker", "broker.state", "broker.replica", "broker.operations", "broker.dispatch")
"""Folders that know no sockets, no disk, no clock and no chance."""
MOST_LINES, MOST_FUNCTION_LINES = 300, 40

PATHS = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
BENCH = {module for module in PATHS if module.partition(".")[0] == "bench"}
MODULES = {module: path for module, path in PATHS.items() if module not in BENCH}
"""The modules of the server."""


def tree(module: str) -> ast.Module:
    return ast.parse(PATHS[module].read_text(encoding="utf-8"))


def imported(source: ast.AST) -> set[str]:
    """Return the full names of the modules that are imported anywhere in it, also inside functions."""
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
    """Return what is called or passed on by a name or a dotted name, as `time.monotonic` or `datetime.now`."""
    seen = set()
    for node in ast.walk(source):
        if isinstance(node, ast.Attribute):
            seen.add(f"{ast.unparse(node.value).rpartition('.')[2]}.{node.attr}")
        elif isinstance(node, ast.Name):
            seen.add(node.id)
    return seen


def functions(source: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the names of functions and their lengths in lines."""
    for node in ast.walk(source):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno
            yield node.name, node.end_lineno - node.lineno + 1


def folder_of(module: str) -> str:
    return module if PATHS[module].name == "__init__.py" or module in PACKAGES else module.rpartition(".")[0]


def modules_of(source: ast.AST) -> set[str]:
    """Return the modules of this project that a source imports: `from a import b` is `a.b` where that is a module."""
    names = imported(source) & set(PATHS)
    return {name for name in names if not any(other.startswith(f"{name}.") for other in names)}


def foreign(source: ast.AST) -> set[str]:
    """Return the packages that a source imports and that are neither ours nor of the standard library."""
    return packages(source) - set(PACKAGES) - sys.stdlib_module_names - {"__future__"}


def in_folders(folders: Iterable[str]) -> list[str]:
    return [module for module in PATHS if folder_of(module) in set(folders) and module not in MAINS]


def importers(package: str) -> set[str]:
    return {module for module in MODULES if package in packages(tree(module))}


def offenders(modules: Iterable[str], found: Callable[[ast.Module], object]) -> dict[str, object]:
    """Return what was found in those modules where something was."""
    return {module: what for module in modules if (what := found(tree(module)))}


def broken_rules(module: str, source: ast.Module) -> set[str]:
    """Return what a module imports against the rule of its folder."""
    folders, _, packages_allowed = RULES[folder_of(module)].partition("|")
    allowed = {*folders.split(), folder_of(module)}
    arrows = {each for each in modules_of(source) if folder_of(each) not in allowed or each in MAINS}
    return arrows | (foreign(source) - ANYWHERE - set(packages_allowed.split()))


def test_every_folder_has_a_rule() -> None:
    assert {folder_of(module) for module in PATHS} - {"bench"} == set(RULES)


def test_folders_import_what_their_rules_allow() -> None:
    broken = {module: broken_rules(module, tree(module)) for module in in_folders(RULES)}
    assert {module: names for module, names in broken.items() if names} == {}


def test_rules_allow_nothing_that_is_not_used() -> None:
    """Otherwise the table would no longer show the architecture."""
    unused = {}
    for folder, rule in RULES.items():
        folders, _, allowed = rule.partition("|")
        sources = [tree(module) for module in in_folders([folder])]
        used = {folder_of(each) for source in sources for each in modules_of(source)}
        used |= {each for source in sources for each in foreign(source)}
        unused[folder] = {*folders.split(), *allowed.split()} - used - set(GROUND.split())
    assert {folder: names for folder, names in unused.items() if names} == {}


def test_folders_import_downwards_only() -> None:
    """A circle raises `CycleError`."""
    graph = {folder: set(rule.partition("|")[0].split()) for folder, rule in RULES.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(RULES)


def test_modules_import_each_other_without_a_circle() -> None:
    list(TopologicalSorter({module: modules_of(tree(module)) - {module} for module in PATHS}).static_order())


def test_mains_import_their_own_package_and_what_is_shared() -> None:
    for module in MAINS:
        own = {module.partition(".")[0], "common"}
        assert packages(tree(module)) & {*PACKAGES, "tests"} <= own, module


def test_nothing_of_the_tests_is_imported() -> None:
    assert offenders(PATHS, lambda source: packages(source) & {"tests", "pytest", "hypothesis"}) == {}
    assert offenders(MODULES, lambda source: packages(source) & {"bench"}) == {}


def test_pythons_own_sqlite_is_not_used() -> None:
    assert importers("sqlite3") == set(), "it may be of a version that damages write-ahead logs"


def test_what_is_told_of_sockets_holds_none() -> None:
    told = ("httpfront.gateway.broker_status", "broker.server.peers", "common.protocol.wire")
    assert offenders(told, lambda source: packages(source) & {"zmq", "socket", "select", "os", "time"}) == {}


def test_the_core_knows_no_sockets_no_disk_no_clock_and_no_chance() -> None:
    core = [*in_folders(CORE), "broker.store.sqlite.changes"]
    assert len(core) > 40
    assert offenders(core, lambda source: packages(source) & (SOCKETS_AND_DISK | CHANCE_AND_TIME)) == {}


def test_a_broker_reads_no_clock_below_main() -> None:
    below = [each for each in MODULES if each.startswith("broker") and each not in MAINS and "tools" not in each]
    assert offenders(below, lambda source: packages(source) & CHANCE_AND_TIME) == {}
    assert offenders(below, lambda source: calls(source) & CLOCK_CALLS) == {}


def test_shared_code_reads_the_clock_in_one_place() -> None:
    shared = [module for module in MODULES if module.startswith("common")]
    readers = set(offenders(shared, lambda source: packages(source) & {"time", "random", "secrets"}))
    assert readers <= {"common.clock", "common.tools.new_api_key"}, "and where secrets are made"
    shared.remove("common.clock")
    assert offenders(shared, lambda source: calls(source) & (CLOCK_CALLS - {"SystemClock", "stopwatch"})) == {}


def test_the_environment_is_read_where_settings_and_processes_are() -> None:
    readers = set(offenders(MODULES, lambda source: calls(source) & {"os.environ", "os.getenv", "os.environb"}))
    assert readers <= {"common.config", "fanmail_server.__main__", *in_folders(["common.process"])}


def test_modules_and_functions_stay_short_enough_to_be_seen_whole() -> None:
    lengths = {module: path.read_text(encoding="utf-8").count("\n") for module, path in PATHS.items()}
    assert {module: lines for module, lines in lengths.items() if lines > MOST_LINES} == {}
    assert offenders(PATHS, lambda source: [each for each in functions(source) if each[1] > MOST_FUNCTION_LINES]) == {}


def test_every_module_says_what_it_is() -> None:
    assert offenders(PATHS, lambda source: not ast.get_docstring(source)) == {}


@pytest.mark.parametrize(
    ("source", "caught"),
    [
        ("import zmq", "zmq"),
        ("import zmq.utils.monitor as m", "zmq"),
        ("from broker.state import topic", "broker"),
        ("from broker.state.topic import Topic", "broker"),
        ("def f():\n    import time", "time"),
        ("if TYPE_CHECKING:\n    from httpfront.api.app import create_app", "httpfront"),
    ],
)
def test_an_import_is_found_in_every_form(source: str, caught: str) -> None:
    """Negative control of the above."""
    assert caught in packages(ast.parse(source))


def test_an_arrow_upwards_is_found_in_every_form() -> None:
    """Negative control of the rules."""
    for text in (
        "from broker.server import loop",
        "from broker.server.loop import Server",
        "import broker.server.loop",
    ):
        assert broken_rules("broker.state.topic", ast.parse(text)) == {"broker.server.loop"}
    assert broken_rules("broker.state.topic", ast.parse("import apsw")) == {"apsw"}
    assert broken_rules("broker.state.topic", ast.parse("from broker.state import timers\nimport heapq")) == set()
    assert broken_rules("broker.state.topic", ast.parse("from broker.start import main")) == {"broker.start"}


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
