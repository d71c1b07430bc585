"""Clients of the cluster that all fault-free tests share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from fanmail import Client
from tests.client.commands import Run, runner
from tests.e2e.cluster import Cluster

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _no_profile_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nonexistent")
    monkeypatch.delenv("FANMAIL_PROFILE", raising=False)


@pytest.fixture
def urls(cluster: Cluster) -> list[str]:
    """Return the base URLs of both fronts."""
    return urls_of(cluster)


@pytest.fixture
def client(urls: list[str]) -> Iterator[Client]:
    with Client(urls) as client:
        yield client


@pytest.fixture
def topic() -> str:
    """Return a topic name that no other test uses."""
    return f"client-{next(_numbers)}"


@pytest.fixture
def ops_urls(cluster: Cluster) -> list[str]:
    """Return the base URLs of both fronts' operations ports."""
    return [f"http://127.0.0.1:{front.ops_port}" for front in cluster.fronts]


@pytest.fixture
def run(urls: list[str], ops_urls: list[str]) -> Run:
    """Return a function that runs the command in this process, as described at `runner`."""
    return runner(urls, ops_urls)


def urls_of(cluster: Cluster) -> list[str]:
    return [f"http://127.0.0.1:{front.port}" for front in cluster.fronts]
