"""The examples of the client's README and docstrings, run before a cluster."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from fanmail import Admin, Client, admin, admin_calls, calls, client, gapless, message, targets, transport
from fanmail.cli import words
from tests.conftest import StartCluster
from tests.e2e.cluster import ROOT, Cluster, clean_environ

README = ROOT / "client" / "README.md"


@pytest.fixture
def url(start_cluster: StartCluster, monkeypatch: pytest.MonkeyPatch) -> str:
    """A cluster of the test's own: the examples name topics as they like."""
    cluster: Cluster = start_cluster(brokers=2, fronts=1)
    url = f"http://127.0.0.1:{cluster.fronts[0].port}"
    monkeypatch.setenv("FANMAIL_URL", url)
    monkeypatch.setenv("FANMAIL_OPS_URL", f"http://127.0.0.1:{cluster.fronts[0].ops_port}")
    return url


def blocks(language: str) -> str:
    """All code of the client's README in one language."""
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE))


def examples(*modules: ModuleType) -> Iterator[doctest.DocTest]:
    """Docstrings with examples, in the order of the sources."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    for module in modules:
        found = [each for each in finder.find(module) if each.examples]
        yield from sorted(found, key=lambda each: each.lineno or 0)


def test_docstrings(url: str) -> None:
    runner = doctest.DocTestRunner()
    tried = 0
    with Client(url) as mine, Admin() as admins:
        for example in examples(calls, client, message, gapless, transport, targets, words):
            example.globs |= {"client": mine, "url": url}
            tried += runner.run(example).attempted
        mine.drop_dead("news", "alice")
        mine.publish("news", "hello")
        for example in examples(admin, admin_calls):
            example.globs |= {"admin": admins}
            tried += runner.run(example).attempted
    assert runner.failures == 0
    assert tried > 20


def test_readme_in_python(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(blocks("python"), str(README), "exec"), {"__name__": "readme"})
    printed = capsys.readouterr().out.splitlines()
    assert [each.split()[-1] for each in printed[:6]] == ["world", "one", "two", "three", "asyncio", "0.0"]
    assert printed[6:] == ["news 1 0 0", "('alice',)", "['unread']", "1 ['up', 'up']"]


def test_readme_in_the_shell(url: str, tmp_path: os.PathLike[str]) -> None:
    script = blocks("sh").partition("pip install ./client")[2].partition("\n")[2]
    assert script.count("fanmail ") > 20
    function = f'fanmail() {{ {sys.executable} -m fanmail "$@"; }}\nset -euo pipefail\n'
    environ = clean_environ() | {
        "FANMAIL_URL": url,
        "FANMAIL_OPS_URL": os.environ["FANMAIL_OPS_URL"],
        "PYTHONPATH": str(ROOT / "client" / "src"),
    }
    done = subprocess.run(
        ["bash", "-c", function + script], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    for shown in ("nothing is missing", "2 of 2 brokers up", "overflow=reject", "waiting", "\n100\n"):
        assert shown in done.stdout
