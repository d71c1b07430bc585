"""The Python examples of the client's README and docstrings, run with a cluster.

The commands of the README are run by tests/e2e/test_documents.py.
"""

from __future__ import annotations

import doctest
import re
from collections.abc import Iterator
from inspect import getsource
from types import ModuleType

import pytest

from fanmail import Admin, Client, admin, admin_calls, batching, calls, client, encoding, gaps, message, transport
from fanmail.cli import formatting
from fanmail.session import ops, sync
from tests.conftest import StartCluster
from tests.e2e.cluster import Cluster
from tests.support.documents import code

README = "client/README.md"


@pytest.fixture
def url(start_cluster: StartCluster, monkeypatch: pytest.MonkeyPatch) -> str:
    """Start a cluster for this test alone, as the examples use fixed topic names."""
    cluster: Cluster = start_cluster(brokers=2, fronts=1)
    url = f"http://127.0.0.1:{cluster.fronts[0].port}"
    monkeypatch.setenv("FANMAIL_URL", url)
    monkeypatch.setenv("FANMAIL_OPS_URL", f"http://127.0.0.1:{cluster.fronts[0].ops_port}")
    return url


def examples(*modules: ModuleType) -> Iterator[doctest.DocTest]:
    """Yield the docstrings that have examples, in the order of the source."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    for module in modules:
        found = [each for each in finder.find(module) if each.examples]
        # The line that doctest has for a decorated function is the decorator's own before Python 3.12.
        lines = {name: number for number, name in enumerate(re.findall(r"(?:def|class) (\w+)", getsource(module)))}
        yield from sorted(found, key=lambda each: lines[each.name.rpartition(".")[2]])


def test_docstrings(url: str) -> None:
    runner = doctest.DocTestRunner()
    tried = 0
    with Client(url) as mine, Admin() as admins:
        for example in examples(calls, client, batching, message, gaps, transport, encoding, formatting):
            example.globs |= {"client": mine, "url": url}
            tried += runner.run(example).attempted
        mine.drop_dead("news", "alice")
        mine.publish("news", "hello")
        for example in examples(admin, admin_calls):
            example.globs |= {"admin": admins}
            tried += runner.run(example).attempted
        mine.subscribe("news", "alice")
        with mine.session() as session:
            for example in examples(ops, sync):
                example.globs |= {"client": mine, "session": session}
                tried += runner.run(example).attempted
    assert runner.failures == 0
    assert tried > 20


def test_readme_in_python(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code(README, "python"), README, "exec"), {"__name__": "readme"})
    printed = capsys.readouterr().out.splitlines()
    assert [each.split()[-1] for each in printed[:9]] == [
        *("world", "one", "two", "three", "first", "second", "bye", "asyncio", "0.0")
    ]
    assert printed[9:] == ["news 1 0 0", "('alice',)", "['unread']", "1 ['up', 'up']"]
