"""Clients that send slowly, read slowly or do nothing: closed in time, and nobody else waits for them."""

import select
import socket
import time

import pytest

from tests.http.rawhttp import Client, Echo, get, post, running, wait_for


def trickle(client: Client, data: bytes) -> None:
    """Sends byte by byte, faster than the timeout, until the server closes."""
    for n in range(len(data)):
        try:
            client.send(data[n : n + 1])
        except OSError:
            return
        if client.sock in _readable(client.sock):
            return
    raise AssertionError("the server let it trickle")


def _readable(sock: socket.socket) -> list[socket.socket]:
    return select.select([sock], [], [], 0.05)[0]


@pytest.mark.parametrize("request_", [get("/a", "A: " + "x" * 400), post("/a", b"x" * 400)])
def test_a_request_that_trickles_in_is_closed_with_408(request_: bytes) -> None:
    app = Echo()
    with running(app, request_timeout=0.3) as server, Client(server.port) as client:
        trickle(client, request_)
        assert client.answer().status == 408
        assert client.at_end()
    assert app.served == []


def test_the_time_of_a_request_begins_with_its_first_byte() -> None:
    with running(Echo(), request_timeout=0.3) as server, Client(server.port) as client:
        for _ in range(5):
            assert client.send(get("/a")[:10], get("/a")[10:], pause=0.1).answer().status == 200
        time.sleep(1.0)  # without a request no request's time runs
        assert client.get("/a").status == 200
        trickle(client, get("/a", "A: " + "x" * 400))
        assert client.answer().status == 408


def test_a_request_waiting_behind_another_has_its_own_time() -> None:
    app = Echo()
    with running(app, request_timeout=0.3) as server, Client(server.port) as client:
        client.send(get("/wait") + get("/a")[:10])
        time.sleep(1.0)
        app.gate.set()
        assert client.answer().status == 200
        assert client.send(get("/a")[10:]).answer().status == 200
        assert client.send(get("/b")[:10]).answer().status == 408


def test_an_idle_connection_is_closed() -> None:
    with running(Echo(), idle_timeout=0.3) as server:
        with Client(server.port) as silent:
            assert silent.at_end()
        with Client(server.port) as client:
            assert client.get("/a").status == 200
            assert client.at_end()
        with Client(server.port) as lines:
            lines.send(b"\r\n")
            assert lines.at_end()
        wait_for(lambda: not server.connections)


def test_a_client_that_does_not_read_is_closed() -> None:
    with running(Echo(), write_timeout=0.3) as server, Client(server.port, tiny=True) as client:
        client.send(get("/big?9000000"))
        wait_for(lambda: server.connections)
        wait_for(lambda: not server.connections)
        with pytest.raises((EOFError, ConnectionError)):
            client.answer()


def test_a_client_that_reads_slowly_gets_everything() -> None:
    with running(Echo(), write_timeout=2.0) as server, Client(server.port, tiny=True) as client:
        client.send(get("/big?6000000") + get("/next"))
        time.sleep(0.5)
        assert len(client.answer().body) == 6_000_000
        assert client.answer().headers["x-path"] == "/next"
        assert client.get("/last").status == 200


def test_a_client_that_keeps_up_may_take_longer_than_the_timeout() -> None:
    """The kernel's buffers are large: for a while the server sees nothing leave but what the client's side takes."""
    with running(Echo(), write_timeout=0.5) as server, Client(server.port) as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.send(get("/big?9000000"))
        began, received = time.monotonic(), 0
        while time.monotonic() - began < 5 * server.options.write_timeout:  # far less than the kernel has taken
            received += len(client.sock.recv(16384))
            time.sleep(0.02)
        assert received < 4_000_000
        assert server.connections
        while received < 9_000_000:
            received += len(client.sock.recv(1_000_000))


def test_a_client_that_only_sips_is_closed() -> None:
    with running(Echo(), write_timeout=0.3, min_rate=10**8) as server, Client(server.port, tiny=True) as client:
        client.send(get("/big?9000000"))
        with pytest.raises(ConnectionResetError):  # noqa: PT012 - whichever read comes to it
            while client.sock.recv(1000):
                time.sleep(0.01)


def test_a_body_that_keeps_up_may_take_longer_than_the_timeout() -> None:
    body = b"x" * 40
    with running(Echo(), request_timeout=0.3, min_rate=10) as server, Client(server.port) as client:
        request = post("/a", body)
        client.send(request[: -len(body)])
        for n in range(len(body)):
            time.sleep(0.03)
            client.send(body[n : n + 1])
        assert client.answer().status == 200
        client.send(post("/a", body)[:-1])
        assert client.answer().status == 408


def test_clients_that_pipeline_and_do_not_read_hold_nobody_up() -> None:
    app = Echo()
    with running(app) as server:
        greedy = [Client(server.port, tiny=True) for _ in range(6)]
        for client in greedy:
            client.send(get("/big?9000000") * 500)
        wait_for(lambda: len(app.served) == 6)
        for _ in range(20):
            with Client(server.port) as other:
                assert other.get("/other").status == 200
        assert app.served.count("/big?9000000".partition("?")[0]) == 6  # their second ones have not begun
        for _ in range(2):
            assert len(greedy[0].answer().body) == 9_000_000
        for client in greedy:
            client.close()


def test_a_flood_of_pipelined_requests_is_not_read_ahead() -> None:
    app = Echo()
    with running(app) as server, Client(server.port) as client:
        client.send(get("/wait"))
        wait_for(lambda: app.served)
        client.sock.settimeout(0.5)
        flood = get("/a") * 10_000
        sent = 0
        with pytest.raises(TimeoutError):  # noqa: PT012 - the kernel's buffers are full: nobody reads
            while sent < 100_000_000:
                sent += client.sock.send(flood)
        assert sent < 100_000_000
