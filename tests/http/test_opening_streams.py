"""Opening streams over raw sockets, with a gateway whose answers the test sets: heads, errors, and slow clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import pytest
from msgspec import Raw

from common.errors import FanmailError
from common.protocol import ops, wire
from common.protocol.ops import Op
from httpfront.api.app import create_app
from httpfront.api.parts import AppParts
from httpfront.delivery.long_poll import LongPoll
from httpfront.gateway.call import Answer
from httpfront.gateway.gateway import Gateway
from httpfront.server.request_summary import RequestSummary
from httpfront.server.server import FrontServer
from httpfront.streams.table import StreamTable
from tests.http.playing import LIMITS, AnsweringGateway, problem, sessions_of
from tests.http.rawhttp import Client, get, running, wait_for
from tests.support.table import table

EVENTS = "Accept: text/event-stream"
OPENED = ops.StreamOpened(7, "0badcafe1", 1)


class Posted(NamedTuple):
    id: int


class StreamGateway(AnsweringGateway):
    """It also takes the calls of streams, and answers those that read with `batch`, over and over."""

    batch: ops.Batch | None = None

    def start(
        self, op: Op, topic: bytes, user: bytes, args: Any, waiting: Any, of_request: str, lasts_s: float = 0
    ) -> Any:
        assert self.server is not None
        if self.batch is not None and op in (Op.WAIT, Op.FETCH):
            result = self.batch if op is Op.FETCH else ops.WaitResult(True, 0)
            answer = Answer(None, Raw(wire.pack_result(result)))
            self.server.hub.spawn(lambda: waiting.switch(answer))
        return Posted(1)

    result_of = Gateway.result_of
    server: FrontServer | None = None


class Playing(NamedTuple):
    """A front, and what the test sets and sees of it."""

    port: int
    gateway: StreamGateway
    table: StreamTable
    reported: list[RequestSummary]


@contextmanager
def playing(max_streams: int = 5, **options: Any) -> Iterator[Playing]:
    gateway = StreamGateway()
    gateway.answers[Op.STREAM] = OPENED
    as_gateway = cast(Gateway, gateway)
    streams = StreamTable(as_gateway, max_streams)
    app = create_app(AppParts(as_gateway, LongPoll(as_gateway, 30, 9), streams, sessions_of(streams), LIMITS, 255))
    reported: list[RequestSummary] = []
    with running(app, reported.append, **options) as server:
        gateway.server = server
        server.hub.every(0.02, streams.tick)
        yield Playing(server.port, gateway, streams, reported)


@pytest.fixture
def front() -> Iterator[Playing]:
    with playing() as front:
        yield front


def head_and_start(client: Client) -> tuple[bytes, bytes]:
    """Return the head of the answer, and what follows up to the first comment."""
    data = b""
    while b"\n:\n" not in data and b"\n\r\n\n" not in data:
        data += client.sock.recv(65536)
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def test_a_stream_is_chunked_and_closes_its_connection(front: Playing) -> None:
    with Client(front.port) as client:
        head, start = head_and_start(client.send(get("/t/u", EVENTS)))
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        for line in (b"Transfer-Encoding: chunked", b"Connection: close", b"X-Accel-Buffering: no"):
            assert line in head.split(b"\r\n")
        assert b"content-length" not in head.lower()
        size, _, rest = start.partition(b"\r\n")
        assert int(size, 16) == len(rest) - 2
        assert rest.startswith(b"retry: ")
        assert front.table.open == 1


def test_a_client_of_before_chunks_gets_none(front: Playing) -> None:
    with Client(front.port) as client:
        head, start = head_and_start(client.send(get("/t/u", EVENTS, version="1.0")))
        assert b"transfer-encoding" not in head.lower()
        assert start.startswith(b"retry: ")


def test_a_client_that_goes_is_noticed_and_reported_once(front: Playing) -> None:
    with Client(front.port) as client:
        head_and_start(client.send(get("/t/u", EVENTS, "X-Request-Id: r1")))
    wait_for(lambda: front.table.open == 0)
    assert front.table.ended["client"] == 1
    (summary,) = front.reported
    assert (summary.route, summary.request_id, summary.ended) == ("/{topic}/{user}", "r1", "client")
    assert summary.sent > 200


BUSY = ("front-busy", "broker-down", "outcome-unknown")


@table("code", BUSY)
def test_a_browser_is_told_to_come_back(front: Playing, code: str) -> None:
    front.gateway.answers[Op.STREAM] = FanmailError(code, "why")
    with Client(front.port) as client:
        answer = client.send(get("/t/u", EVENTS)).answer()
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream"
    retry, event, data = answer.body.decode().replace("\n\n", "\n").splitlines()
    assert (retry[:7], event) == ("retry: ", "event: error")
    assert json.loads(data.removeprefix("data: "))["code"] == code


@table("code", [*BUSY, "no-subscription", "leases-out"])
def test_who_asks_by_parameter_gets_the_status(front: Playing, code: str) -> None:
    error = front.gateway.answers[Op.STREAM] = FanmailError(code, "why")
    with Client(front.port) as client:
        assert problem(client.send(get("/t/u?stream=sse", EVENTS)).answer())[:2] == (error.spec.status, code)


@table("code", ["no-subscription", "leases-out"])
def test_what_coming_back_does_not_help_is_a_status_for_browsers_too(front: Playing, code: str) -> None:
    error = front.gateway.answers[Op.STREAM] = FanmailError(code, "why")
    with Client(front.port) as client:
        assert problem(client.send(get("/t/u", EVENTS)).answer())[:2] == (error.spec.status, code)


def test_a_header_goes_before_the_parameter(front: Playing) -> None:
    with Client(front.port) as client:
        head_and_start(client.send(get("/t/u?after=0badcafe1-3", EVENTS, "Last-Event-ID: 0badcafe1-5")))
    assert front.gateway.calls[0].args == ops.OpenStream(True, "0badcafe1", 5)


def test_there_is_a_most_of_streams() -> None:
    with playing(max_streams=1) as front, Client(front.port) as one, Client(front.port) as other:
        head_and_start(one.send(get("/t/u", EVENTS)))
        assert problem(other.send(get("/t/u?stream=ndjson")).answer())[:2] == (503, "front-busy")
        one.close()
        wait_for(lambda: front.table.open == 0)
        head_and_start(other.send(get("/t/u", EVENTS)))


def test_a_client_that_reads_nothing_costs_a_bounded_buffer_and_ends() -> None:
    body = b"x" * 60_000
    frame = len(body).to_bytes(4, "big") + body
    with playing(write_timeout=0.6) as front, Client(front.port) as client:
        front.gateway.batch = ops.Batch("0badcafe1", 5, [ops.Run(1, 1, 1_700_000_000_000, b"", frame)], 1)
        client.send(get("/t/u?stream=ndjson"))
        wait_for(lambda: front.table.ended["slow"] == 1)
        assert front.table.open == 0
        (summary,) = front.reported
        assert summary.ended == "slow"
        assert summary.sent < 16 * 2**20, "what the kernel took, and a little more"


def test_a_client_that_reads_goes_on_beside_one_that_does_not() -> None:
    body = b"x" * 60_000
    frame = len(body).to_bytes(4, "big") + body
    with playing() as front, Client(front.port) as slow, Client(front.port) as fast:
        front.gateway.batch = ops.Batch("0badcafe1", 5, [ops.Run(1, 1, 1_700_000_000_000, b"", frame)], 1)
        slow.send(get("/t/u?stream=ndjson"))
        fast.send(get("/t/u?stream=ndjson"))
        got = 0
        while got < 32 * 2**20:
            got += len(fast.sock.recv(65536))
        assert front.table.open == 2


def test_a_body_behind_the_request_is_no_matter(front: Playing) -> None:
    with Client(front.port) as client:
        client.send(get("/t/u", EVENTS, "Content-Length: 1000") + b"x" * 10)
        assert head_and_start(client)[0].startswith(b"HTTP/1.1 200 OK")
