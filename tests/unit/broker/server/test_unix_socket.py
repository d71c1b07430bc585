"""The socket of a broker: nobody comes in for whom there is no descriptor, and it is made again when it is removed."""

from __future__ import annotations

import select
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from broker.server.unix_socket import LEAST, NEEDED, SETTLED, UnixSocket
from tests.e2e.cluster import short_folder, wait_for

ENOUGH = NEEDED + 2


class House:
    """A ROUTER behind a unix_socket, and who knocks."""

    def __init__(self) -> None:
        self.free = ENOUGH
        self.counters: Counter[str] = Counter()
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.router = self.context.socket(zmq.ROUTER)
        self.path = short_folder() / "b0.sock"
        self.unix_socket = UnixSocket(self.router, self.path, self.counters, select.epoll(), lambda: self.free)

    def front(self) -> zmq.Socket[bytes]:
        front = self.context.socket(zmq.DEALER)
        front.setsockopt(zmq.RECONNECT_IVL, 10)
        front.connect(f"ipc://{self.path}")
        front.send(b"hello")
        return front

    def hears(self, count: int) -> None:
        """Waits until the given number of fronts have said hello."""
        heard = 0

        def all_heard() -> bool:
            nonlocal heard
            self.unix_socket.turn()
            while self.router.poll(0):
                self.router.recv_multipart()
                heard += 1
            return heard == count

        wait_for(all_heard, f"{count} fronts")

    def look(self) -> None:
        for _ in range(SETTLED + 1):
            self.unix_socket.look(0)

    def close(self) -> None:
        self.unix_socket.close()
        self.context.destroy(linger=0)


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    yield house
    house.close()
    assert not house.path.exists()
    house.path.parent.rmdir()


def test_more_fronts_than_may_wait_get_in_all_the_same(house: House) -> None:
    house.free = 10**4
    fronts = [house.front() for _ in range(3 * LEAST)]
    house.hears(len(fronts))
    house.look()
    assert 1 <= len(house.unix_socket._given) <= len(fronts)


def test_without_descriptors_nobody_gets_in_until_there_are(house: House, caplog: pytest.LogCaptureFixture) -> None:
    first = house.front()
    house.hears(1)
    house.look()
    house.free = NEEDED - 1
    house.front()
    wait_for(lambda: house.unix_socket.turn() or house.counters["refused.descriptors"], "a refusal")
    house.look()
    assert "connections refused: too few file descriptors" in caplog.messages
    first.send(b"who is in stays in")
    house.hears(1)
    house.free = ENOUGH
    house.hears(1)


def test_those_who_may_still_come_in_count(house: House) -> None:
    """A flood that is faster than libzmq: it has accepted none of those who were let in before."""
    house.free = 2 * NEEDED
    house.unix_socket._hear = lambda: None  # type: ignore[method-assign]
    strangers = [socket.socket(socket.AF_UNIX) for _ in range(6 * LEAST)]
    for stranger in strangers:
        stranger.setblocking(False)
        try:
            stranger.connect(str(house.path))
        except BlockingIOError:
            house.unix_socket.turn()
    assert len(house.unix_socket._given) * LEAST + NEEDED <= house.free + LEAST
    assert house.counters["refused.descriptors"]
    for stranger in strangers:
        stranger.close()


def test_sockets_that_nobody_uses_any_more_are_given_back(house: House) -> None:
    house.free = 10**4
    for _ in range(3):
        front = house.front()
        house.hears(1)
        front.close(linger=0)
        wait_for(
            lambda: house.unix_socket._hear() or all(each.left for each in house.unix_socket._given.values()), "its end"
        )
    house.look()
    assert not house.unix_socket._given


def test_a_socket_that_was_removed_is_made_again(house: House) -> None:
    old = house.front()
    house.hears(1)
    house.path.unlink()
    house.front()
    house.look()
    house.hears(1)
    old.send(b"who was in is in still")
    house.hears(1)


def test_a_path_as_long_as_may_be() -> None:
    folder = short_folder()
    path = Path(f"{folder}/{'x' * (107 - len(str(folder)) - 1)}")
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = context.socket(zmq.ROUTER)
    unix_socket = UnixSocket(router, path, Counter(), select.epoll())
    with socket.socket(socket.AF_UNIX) as front:
        front.connect(str(path))
    unix_socket.close()
    context.destroy(linger=0)
    folder.rmdir()
