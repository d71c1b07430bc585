"""A front over raw sockets whose gateway answers the calls of WebSocket sessions as the test says."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from msgspec import Raw

from common.errors import FanmailError
from common.protocol import ops, wire
from common.protocol.ops import Op
from httpfront.api.app import create_app
from httpfront.api.parts import AppParts
from httpfront.budget import Budget
from httpfront.delivery.long_poll import LongPoll
from httpfront.formats.metadata import kept_field
from httpfront.gateway.call import Answer
from httpfront.gateway.gateway import Gateway
from httpfront.server.request_summary import RequestSummary
from httpfront.server.server import FrontServer
from httpfront.sessions.table import SessionTable
from httpfront.streams.table import StreamTable
from tests.http.playing import LIMITS, AnsweringGateway, Called, sessions_of
from tests.http.rawhttp import running

EPOCH = "0badcafe1"


class Posted(NamedTuple):
    id: int


@dataclass
class SessionGateway(AnsweringGateway):
    """It answers what is in `answers`; an operation in `held` waits until `let_go`, and a WAIT for ever."""

    server: FrontServer | None = None
    held: set[Op] = field(default_factory=set)
    waiting: deque[tuple[Any, Answer]] = field(default_factory=deque)

    def start(
        self, op: Op, topic: bytes, user: bytes, args: Any, waiting: Any, of_request: str, lasts_s: float = 0
    ) -> Posted:
        self.calls.append(Called(op, topic, user, args))
        answer = self.answers.get(op, _ANSWERS.get(op))
        if callable(answer):
            answer = answer(topic, user, args)
        if isinstance(answer, FanmailError):
            whole = Answer(answer)
        elif answer is None and op in (Op.WAIT, Op.CANCEL):
            return Posted(len(self.calls))
        else:
            whole = Answer(None, Raw(wire.pack_result(answer)))
        if op in self.held:
            self.waiting.append((waiting, whole))
        else:
            assert self.server is not None
            self.server.hub.spawn(lambda: waiting.switch(whole))
        return Posted(len(self.calls))

    def start_publish(self, op: Op, topic: bytes, args: Any, body: bytes | None, waiting: Any, of_request: str) -> None:
        self.start(op, topic, b"", args, waiting, of_request)
        self.calls[-1] = self.calls[-1]._replace(body=body)

    result_of = Gateway.result_of

    def let_go(self, count: int = 1) -> None:
        """Answer the oldest calls that wait. From any thread."""
        assert self.server is not None
        for _ in range(count):
            self.server.hub.spawn(self._answer_one)
        self.server.hub.wake()

    def _answer_one(self) -> None:
        waiting, answer = self.waiting.popleft()
        waiting.switch(answer)

    def asked(self, *kinds: Op) -> list[Any]:
        """Return the arguments of all calls of these operations."""
        return [each.args for each in list(self.calls) if each.op in kinds]


_ANSWERS: dict[Op, Any] = {
    Op.PUBLISH: ops.Published(1, EPOCH, 7),
    Op.PUBLISH_APART: ops.PublishedApart(1, EPOCH, 7),
    Op.SUBSCRIBE: ops.Subscribed(True),
    Op.UNSUBSCRIBE: ops.Nothing(),
    Op.STREAM: ops.StreamOpened(3, EPOCH, 1),
    Op.LOOK: ops.Status(0, EPOCH, 0),
    Op.CONFIRM: ops.Confirmed(True),
    Op.EXTEND: ops.Nothing(),
    Op.SKIP: ops.Nothing(),
    Op.FINISH: lambda topic, user, args: ops.Finished([""] * len(args.receipts)),
}


class Playing(NamedTuple):
    """A front, and what the test sets and sees of it."""

    port: int
    gateway: SessionGateway
    table: SessionTable
    reported: list[RequestSummary]
    budget: Budget
    server: FrontServer


@contextmanager
def playing(
    max_streams: int = 5, bounds: dict[str, Any] | None = None, parts: dict[str, Any] | None = None, **options: Any
) -> Iterator[Playing]:
    """A front that runs until the end; `bounds` are of `SessionLimits`, `parts` of `AppParts`."""
    gateway = SessionGateway()
    as_gateway = cast(Gateway, gateway)
    streams = StreamTable(as_gateway, max_streams)
    sessions = sessions_of(streams, **(bounds or {}))
    app = create_app(AppParts(as_gateway, LongPoll(as_gateway, 30, 9), streams, sessions, LIMITS, 255, **(parts or {})))
    reported: list[RequestSummary] = []
    budget = options.pop("budget", None) or Budget(64 * 1024 * 1024)
    with running(app, reported.append, budget, kept_field=kept_field, **options) as server:
        gateway.server = server
        server.hub.every(0.02, streams.tick)
        server.hub.every(0.02, sessions.tick)
        yield Playing(server.port, gateway, sessions, reported, budget, server)
