"""The proxies of the shared cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.proxies import DOORS, Door, Proxy, running


@pytest.fixture(scope="session")
def _proxies(_shared: Cluster) -> Iterator[Callable[[str], Proxy]]:
    """Start each proxy when it is first asked for."""
    started: dict[str, Proxy] = {}
    with ExitStack() as stack:

        def start(program: str) -> Proxy:
            if program not in started:
                ports = [front.port for front in _shared.fronts]
                started[program] = stack.enter_context(running(program, ports))
            return started[program]

        yield start


@pytest.fixture(params=DOORS, ids=":".join)
def door(cluster: Cluster, _proxies: Callable[[str], Proxy], request: pytest.FixtureRequest) -> Iterator[Door]:
    """Yield a port of a proxy before the fronts of the shared cluster. Use topic names of `Door.topic` only."""
    program, scheme = request.param
    door = Door(_proxies(program), scheme)
    yield door
    door.forget()
    assert door.process.running, door.proxy.about()
