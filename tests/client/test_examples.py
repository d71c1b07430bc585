"""The Python examples of the client's README and docstrings, run before a cluster.

The commands of the README are run by tests/e2e/test_documents.py.
"""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from types import ModuleType

import pytest

from fanmail import Client, calls, client, gapless, message, transport
from tests.conftest import StartCluster
from tests.e2e.cluster import Cluster
from tests.support.documents import code

README = "client/README.md"


@pytest.fixture
def url(start_cluster: StartCluster, monkeypatch: pytest.MonkeyPatch) -> str:
    """A cluster of the test's own: the examples name topics as they like."""
    cluster: Cluster = start_cluster(brokers=2, fronts=1)
    url = f"http://127.0.0.1:{cluster.fronts[0].port}"
    monkeypatch.setenv("FANMAIL_URL", url)
    return url


def examples(*modules: ModuleType) -> Iterator[doctest.DocTest]:
    """Docstrings with examples, in the order of the sources."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    for module in modules:
        found = [each for each in finder.find(module) if each.examples]
        yield from sorted(found, key=lambda each: each.lineno or 0)


def test_docstrings(url: str) -> None:
    runner = doctest.DocTestRunner()
    tried = 0
    with Client(url) as mine:
        for example in examples(calls, client, message, gapless, transport):
            example.globs |= {"client": mine, "url": url}
            tried += runner.run(example).attempted
    assert runner.failures == 0
    assert tried > 20


def test_readme_in_python(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code(README, "python"), README, "exec"), {"__name__": "readme"})
    printed = capsys.readouterr().out.splitlines()
    assert [each.split()[-1] for each in printed] == ["world", "one", "two", "three", "asyncio", "0.0"]
