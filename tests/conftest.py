"""What runs, and fixtures of real processes. Nothing is started for tests that do not ask for it.

`--all` runs every test with all its examples. Without it tests marked `slow` are left out, unless files, folders or
tests are named.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, Front, Supervised, short_folder
from tests.support.nats_cluster import NatsCluster

StartCluster = Callable[..., Cluster]
StartSupervised = Callable[..., Supervised]

_REPORT: pytest.StashKey[dict[str, pytest.TestReport]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="slow tests too, and all examples of the others")


def pytest_configure() -> None:
    """A shell that runs this in the background has it ignore SIGINT, and what it starts would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


LONGEST = ("test_broker_model", "test_every_command_does", "test_many_topics", "test_durable_kills", "test_soak")
"""Parts of the names of tests for which nothing should wait at the end."""


def spread(items: list[pytest.Item]) -> None:
    """Let every worker begin with some of the longest: each gets one run of neighbours, and takes from others later."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    longest = [item for item in items if any(each in item.nodeid for each in LONGEST)]
    others = [item for item in items if item not in set(longest)]
    parts = [
        (longest[n::workers], others[n * len(others) // workers : (n + 1) * len(others) // workers])
        for n in range(workers)
    ]
    items[:] = [item for part in parts for some in part for item in some]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.args_source is pytest.Config.ArgsSource.ARGS:
        return
    if config.getoption("--all"):
        spread(items)
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if not item.get_closest_marker("slow")]
    spread(items)


@pytest.fixture(scope="session")
def everything(pytestconfig: pytest.Config) -> bool:
    """Whether `--all` was asked for: tests with many examples or seeds try all of them."""
    return bool(pytestconfig.getoption("--all"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[Any]:
    """Lets fixtures see at their end whether the test has failed."""
    report = yield
    item.stash.setdefault(_REPORT, {})[report.when] = report
    return report


def _failed(request: pytest.FixtureRequest) -> bool:
    reports = request.node.stash.get(_REPORT, {})
    return any(report.failed for report in reports.values())


@pytest.fixture(scope="session")
def _shared() -> Iterator[Cluster]:
    cluster = Cluster(brokers=2, fronts=2, front_settings={"idle_timeout": 3600})
    yield cluster
    cluster.close()


@pytest.fixture
def cluster(_shared: Cluster, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Two fronts and two brokers that all fault-free tests share: use topic names of your own."""
    yield _shared
    if _failed(request):
        print(_shared.about())
    for process in _shared.processes:
        assert process.running, process.about()


@pytest.fixture
def front(cluster: Cluster) -> Front:
    """The first front of the shared cluster."""
    return cluster.fronts[0]


@pytest.fixture
def start_cluster(request: pytest.FixtureRequest) -> Iterator[StartCluster]:
    """Starts a cluster of the test's own: `start_cluster(brokers=1, broker_settings={...})`."""
    clusters: list[Cluster] = []

    def start(*args: Any, **kwargs: Any) -> Cluster:
        clusters.append(Cluster(*args, **kwargs))
        return clusters[-1]

    yield start
    for cluster in clusters:
        if _failed(request):
            print(cluster.about())
        cluster.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty private directory with a short path."""
    path = short_folder()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def start_supervised(folder: Path, request: pytest.FixtureRequest) -> Iterator[StartSupervised]:
    """Starts a script of `bin`: `start_supervised("start-brokers", "2", "--run-dir=...")`."""
    started: list[Supervised] = []

    def start(script: str, *arguments: str, **kwargs: Any) -> Supervised:
        started.append(Supervised(script, folder, *arguments, **kwargs))
        return started[-1]

    yield start
    with ExitStack() as stack:
        for each in started:
            stack.callback(each.close)
    if _failed(request):
        print("\n".join(each.process.about() for each in started))


@pytest.fixture(scope="session")
def _shared_nats() -> Iterator[NatsCluster]:
    cluster = NatsCluster()
    yield cluster
    cluster.close()


@pytest.fixture
def nats(_shared_nats: NatsCluster, request: pytest.FixtureRequest) -> Iterator[NatsCluster]:
    """Three NATS servers that all tests share: use streams of your own. What was killed is started again at the end."""
    yield _shared_nats
    if _failed(request):
        print(_shared_nats.about())
    _shared_nats.restore()
