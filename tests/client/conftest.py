"""Clients of the cluster that all fault-free tests share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from fanmail import Client
from tests.e2e.cluster import Cluster

_numbers = itertools.count()


@pytest.fixture
def urls(cluster: Cluster) -> list[str]:
    """Base URLs of both fronts."""
    return urls_of(cluster)


@pytest.fixture
def client(urls: list[str]) -> Iterator[Client]:
    with Client(urls) as client:
        yield client


@pytest.fixture
def topic() -> str:
    """A name of the test's own."""
    return f"client-{next(_numbers)}"


def urls_of(cluster: Cluster) -> list[str]:
    return [f"http://127.0.0.1:{front.port}" for front in cluster.fronts]
