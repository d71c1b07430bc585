"""One request, followed through the logs of front and broker by its id, and through its trace."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from common.protocol import ops, wire
from common.protocol.ops import Op
from tests.conftest import StartCluster
from tests.e2e.cluster import Client, Cluster, Front, Process, wait_for

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def _small() -> Iterator[Cluster]:
    cluster = Cluster(brokers=1, fronts=1, broker_settings={"log_level": "debug", "max_messages": 2})
    yield cluster
    cluster.close()


@pytest.fixture
def small(_small: Cluster) -> Iterator[Cluster]:
    """A cluster that every test leaves empty. Its logs have the lines of the tests before, too."""
    yield _small
    last = _small.fronts[0].web.unsubscribe("t", "u").headers["X-Request-Id"]
    access(_small.fronts[0], last)
    wait_for(lambda: asked(_small.brokers["b0"], last), "the last line of the broker")
    assert _small.held()["topics"] == 0


def access(front: Front, request_id: str) -> dict[str, Any]:
    """Return the line of the access log, which is written shortly after the response."""
    return wait_for(lambda: next((each for each in front.process.events() if of(each, request_id)), None), request_id)


def of(event: dict[str, Any], request_id: str) -> bool:
    return event["event"] == "request" and event.get("request_id") == request_id


def asked(broker: Process, request_id: str) -> list[tuple[str, str]]:
    """Return the operations that the broker executed for a request, with their codes."""
    found = [each for each in broker.events() if each.get("request_id") == request_id]
    assert all((each["event"], each["level"]) == ("operation", "debug") for each in found)
    assert all(each["duration_us"] >= 0 for each in found)
    return [(each["operation"], each["code"]) for each in found]


def await_asked(broker: Process, request_id: str, wanted: list[tuple[str, str]]) -> None:
    """The same, which is written a moment after the answer."""
    wait_for(lambda: asked(broker, request_id) == wanted, f"{wanted} of {request_id}, not {asked(broker, request_id)}")


def test_a_request_is_found_in_both_logs_by_its_id(small: Cluster) -> None:
    front, broker = small.fronts[0], small.brokers["b0"]
    operations = Client(front.ops_port)
    all_wanted = {}
    for client, method, path, status, wanted in (
        (front.web, "POST", "/t/u", 200, [("subscribe", "")]),
        (front.web, "POST", "/t", 200, [("publish", "")]),
        (front.web, "POST", "/t", 200, [("publish", "")]),
        (front.web, "POST", "/t", 429, [("publish", "topic-full")]),
        (front.web, "GET", "/t/u?max=5", 200, [("fetch", "")]),
        (front.web, "GET", "/t/nobody", 404, [("take", "no-subscription")]),
        (front.web, "GET", "/t/u?after=9-9", 410, [("take", "cursor-lost")]),
        (front.web, "GET", "/t/u?wait=0.1", 204, [("take", ""), ("wait", "")]),
        (front.web, "GET", "/t/u?wiat=1", 400, []),
        (operations, "GET", "/-/v1/topics/t", 200, [("topic", "")]),
        (operations, "GET", "/-/v1/brokers", 200, [("stats", "")]),
    ):
        request_id = f"order!{method}{path}{status}:{len(broker.log())}"
        answer = client.call(method, path, b"x", {"X-Request-Id": request_id})
        assert (answer.status, answer.headers["X-Request-Id"]) == (status, request_id), path
        all_wanted[request_id] = wanted
        await_asked(broker, request_id, wanted)
        if client is front.web:
            assert access(front, request_id)["status"] == status
    operations.close()
    assert {request_id: asked(broker, request_id) for request_id in all_wanted} == all_wanted, "and no more"


def test_an_id_that_the_front_has_made_is_the_same_everywhere(small: Cluster) -> None:
    front, broker = small.fronts[0], small.brokers["b0"]
    request_id = front.web.subscribe("t", "u").headers["X-Request-Id"]
    assert re.fullmatch(r"[0-9a-f]{10}-[0-9a-f]+", request_id)
    assert access(front, request_id)["status"] == 200
    await_asked(broker, request_id, [("subscribe", "")])


def test_a_client_that_goes_while_it_waits_is_found_too(small: Cluster) -> None:
    front, broker = small.fronts[0], small.brokers["b0"]
    front.web.subscribe("t", "u")
    with socket.create_connection(("127.0.0.1", front.port)) as client:
        client.sendall(b"GET /t/u?wait=20 HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: gone\r\n\r\n")
        wait_for(lambda: asked(broker, "gone") == [("take", ""), ("wait", "")] or None, "the wait")
    wait_for(lambda: asked(broker, "gone")[2:] == [("cancel", "")], "it to be cancelled")


@pytest.mark.parametrize(
    "given",
    [
        b"with space",
        b"tab\tin it",
        b"\xc3\xbcber",
        b"x" * 129,
        b"a\r\n folded: {}",
        b'a\r\nX-Request-Id: "b"',
        b"bare\rreturn",
        b"bare\nline",
        b"nul\x00",
        b'{"event":"forged"}\x0a{}',
        b"",
    ],
)
def test_what_is_not_an_id_comes_into_no_log(small: Cluster, given: bytes) -> None:
    """Expect that it is replaced by an id of the front's own, or refused."""
    front, broker = small.fronts[0], small.brokers["b0"]
    before = {process: len(process.log()) for process in (front.process, broker)}
    with socket.create_connection(("127.0.0.1", front.port)) as client:
        client.sendall(b"POST /t/u HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n")
        client.sendall(b"X-Request-Id: " + given + b"\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    made = re.search(rb"X-Request-Id: ([0-9a-f]{10}-[0-9a-f]+)\r\n", answer)
    assert made or answer.startswith(b"HTTP/1.1 400 ")
    if made:
        assert access(front, made[1].decode())["status"] == 200
        await_asked(broker, made[1].decode(), [("subscribe", "")])
    for process, begin in before.items():
        for line in process.log()[begin:].splitlines():
            event = json.loads(line)
            assert event["event"] != "forged"
            assert re.fullmatch(r"[0-9a-f]{10}-[0-9a-f]+|", event.get("request_id", ""))


def test_a_broker_says_nothing_of_single_requests_unless_asked_to(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1)
    cluster.fronts[0].web.call("POST", "/t/u", headers={"X-Request-Id": "quiet"})
    cluster.fronts[0].web.call("GET", "/t/nobody", headers={"X-Request-Id": "quiet"})
    access(cluster.fronts[0], "quiet")
    assert "quiet" not in cluster.brokers["b0"].log()


def test_a_broker_that_is_given_a_hostile_id_answers_and_logs_no_byte_of_it(small: Cluster) -> None:
    with small.peer("b0") as peer:
        peer.ping()
        evil = wire._encode((7, int(Op.LOOK), b"t", b"u", 2**62, ops.Nothing(), 'r1\n{"event":"forged"}'))
        peer.socket.send(wire.pack_requests(peer.incarnation, 1, [evil]))
        (reply,) = wire.unpack_replies(peer.socket.recv_multipart()).replies
        assert (reply.id, reply.code) == (7, "bad-request")
        assert peer.stats()["errors.wire"] == 1
    assert "forged" not in small.brokers["b0"].log()


def test_the_trace_of_a_traceparent_is_in_the_access_log(small: Cluster) -> None:
    front = small.fronts[0]
    for request_id, given, wanted in (
        ("r1", TRACEPARENT, TRACE),
        ("r2", TRACEPARENT.upper(), None),
        ("r3", "00-broken", None),
    ):
        front.web.call("POST", "/t/u", headers={"X-Request-Id": request_id, "traceparent": given})
        assert access(front, request_id).get("trace_id") == wanted


def test_a_traceparent_reaches_the_subscriber_with_single_messages_batches_and_ndjson(front: Front) -> None:
    web = front.web
    headers = {"traceparent": TRACEPARENT, "tracestate": "a=1"}
    for user in ("one", "lines", "frames"):
        web.subscribe("traced", user)
    web.publish("traced", b"1", headers)
    web.call("POST", "/traced?batch=lines", b"2\n3\n", headers)
    for _ in range(3):
        taken = web.take("traced", "one")
        assert (taken.headers["traceparent"], taken.headers["tracestate"]) == (TRACEPARENT, "a=1")
    answer = web.call("GET", "/traced/lines?max=10", headers={"Accept": "application/x-ndjson"})
    rows = [json.loads(line) for line in answer.body.splitlines()]
    assert [row["text"] for row in rows] == ["1", "2", "3"]
    assert all((row["meta"]["traceparent"], row["meta"]["tracestate"]) == (TRACEPARENT, "a=1") for row in rows)
    answer = web.call("GET", "/traced/frames?max=10", headers={"Accept": "application/vnd.fanmail.frames"})
    assert (answer.headers["Msg-Count"], answer.headers["traceparent"]) == ("3", TRACEPARENT)
