"""Stopping: nobody sees a reset or a piece of an answer."""

import threading

import pytest

from httpfront.server.server import FrontServer
from tests.http.rawhttp import PATIENCE, Client, Echo, drain, get, running, wait_for


def ended(server: FrontServer) -> bool:
    """Whether `run` has ended and freed everything."""
    return server.draining and not server.connections and not server.listening


def test_idle_connections_get_one_more_request_and_then_the_end() -> None:
    with running(Echo()) as server:
        used, unused, silent = (Client(server.port) for _ in range(3))
        used.get("/a")
        wait_for(lambda: len(server.connections) == 3)
        drain(server, 10, 1.0)
        wait_for(lambda: server.draining)
        for client in (used, unused):
            answer = client.get("/last")
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert client.at_end()
        assert silent.at_end()
        for client in (used, unused, silent):
            client.close()
        wait_for(lambda: ended(server))


def test_requests_in_progress_are_finished() -> None:
    app = Echo()
    with running(app) as server:
        waiting, partial, large = Client(server.port), Client(server.port), Client(server.port, tiny=True)
        waiting.send(get("/wait") + get("/never"))
        partial.send(get("/partial")[:-2])
        large.send(get("/big?9000000"))
        wait_for(lambda: sorted(app.served) == ["/big", "/wait"])
        drain(server, PATIENCE, 0.1)
        wait_for(lambda: not server.listening)
        with pytest.raises(OSError):
            Client(server.port)
        app.gate.set()
        assert waiting.answer().headers["connection"] == "close"
        assert waiting.at_end()
        assert partial.send(get("/partial")[-2:]).answer().headers["connection"] == "close"
        assert partial.at_end()
        assert len(large.answer().body) == 9_000_000
        assert large.at_end()
        for client in (waiting, partial, large):
            client.close()
        wait_for(lambda: ended(server))
    assert "/never" not in app.served


def test_the_drain_ends_after_its_timeout() -> None:
    app = Echo()
    with running(app) as server, Client(server.port) as client:
        client.send(get("/wait"))
        wait_for(lambda: app.served)
        drain(server, 0.3, 0.1)
        wait_for(lambda: ended(server))
        with pytest.raises((EOFError, ConnectionError)):
            client.answer()


def test_connections_in_the_accept_queue_are_answered() -> None:
    app = Echo()
    with running(app) as server:
        clients: list[Client] = []
        # The loop sees the drain and these connections in one turn, in any order.
        for n in range(50):
            try:
                clients.append(Client(server.port).send(get("/a")))
            except ConnectionRefusedError:  # the drain was quicker
                break
            if n == 25:
                drain(server, 10, 1.0)
            if server.draining:
                break
        for client in clients:
            assert client.answer().status == 200
            client.close()
        wait_for(lambda: ended(server))


def test_under_load_every_client_sees_whole_answers_only() -> None:
    with running(Echo()) as server:
        counts: list[int] = [0] * 8
        wrong: list[str] = []
        work, port = _ask_until_refused, server.port
        clients = [threading.Thread(target=work, args=(port, n, counts, wrong)) for n in range(8)]
        for thread in clients:
            thread.start()
        wait_for(lambda: min(counts) >= 50)
        drain(server, 10, 0.2)
        for thread in clients:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert wrong == []
        wait_for(lambda: ended(server))


def _ask_until_refused(port: int, number: int, counts: list[int], wrong: list[str]) -> None:
    """Keep-alive on even numbers, a connection for each request on odd ones; notes what must not happen."""
    while True:
        try:
            client = Client(port)
        except OSError:
            return
        try:
            while True:
                answer = client.get("/big?20000", *(["Connection: close"] if number % 2 else []))
                counts[number] += 1
                if len(answer.body) != 20_000:
                    wrong.append(f"{len(answer.body)} bytes")
                if answer.headers.get("connection") == "close":
                    break
        except (OSError, EOFError) as error:
            wrong.append(repr(error))
        finally:
            client.close()


def test_a_second_drain_changes_nothing() -> None:
    with running(Echo()) as server:
        drain(server, 5, 5)
        drain(server, 5, 0)
        wait_for(lambda: ended(server))


def test_every_address_is_drained() -> None:
    """Who got through the handshake on any of them is answered; then nobody listens."""
    with running(Echo(), hosts=["::", "127.0.0.1"]) as both, running(Echo(), hosts=["127.0.0.1", "::1"]) as two:
        for server in (both, two):
            clients = [Client(server.port, host=host) for host in ("127.0.0.1", "::1") * 5]
            drain(server, PATIENCE, PATIENCE)
            for client in clients:
                assert client.get("/a").headers["connection"] == "close"
                assert client.at_end()
                client.close()
            wait_for(lambda server=server: ended(server))
            for host in ("127.0.0.1", "::1"):
                with pytest.raises(OSError):
                    Client(server.port, host=host)
