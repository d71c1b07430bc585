"""A front over raw sockets whose gateway answers what the test says, and one whole exchange with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op
from httpfront.api.app import create_app
from httpfront.api.parts import AppParts
from httpfront.delivery.long_poll import LongPoll
from httpfront.formats.limits import MessageLimits
from httpfront.formats.metadata import kept_field
from httpfront.gateway.gateway import Gateway
from httpfront.sessions.table import SessionLimits, SessionTable
from httpfront.streams.table import StreamTable
from tests.http.rawhttp import Answer, Client, running

LIMITS = MessageLimits(body=10**6, batch=10**6, batch_messages=5, fetch=100, fetch_bytes=5000)


def sessions_of(streams: StreamTable, **bounds: Any) -> SessionTable:
    """The table of sessions of a front; `bounds` are of `SessionLimits`."""
    return SessionTable(streams, SessionLimits(LIMITS.body, 255, **bounds))


class Called(NamedTuple):
    """One call as the gateway was asked for it."""

    op: Op
    topic: bytes
    user: bytes
    args: Any
    body: bytes | None = None


@dataclass
class AnsweringGateway:
    """In the place of `Gateway`: it notes every call and gives `answers`, an error among them is raised."""

    answers: dict[Op, Any] = field(default_factory=dict)
    calls: list[Called] = field(default_factory=list)
    called: int = 0

    def candidates(self) -> list[Any]:
        return []

    def call(self, op: Op, topic: bytes, user: bytes, args: Any, body: bytes | None = None) -> Any:
        self.calls.append(Called(op, topic, user, args, body))
        answer = self.answers.get(op)
        if isinstance(answer, FanmailError):
            raise answer
        return answer

    def wait(
        self, topic: bytes, user: bytes, until: float, ticket: int, on_disconnect: object = None
    ) -> ops.WaitResult:
        self.calls.append(Called(Op.WAIT, topic, user, ops.Wait(ticket)))
        return ops.WaitResult(False, ticket)

    def brokers(self) -> dict[str, bool]:
        return {"b0": True}


class Front:
    """A running front. `reset` between tests."""

    def __init__(self, gateway: AnsweringGateway, port: int) -> None:
        self.gateway = gateway
        self._port = port

    def reset(self) -> None:
        self.gateway.answers.clear()
        self.gateway.calls.clear()

    def answers(self, op: Op, answer: Any) -> None:
        """What an operation gives, or raises, from now on."""
        self.gateway.answers[op] = answer

    def ask(self, line: str, *headers: str, body: bytes = b"", host: str = "test") -> Answer:
        """One exchange over its own connection; `line` is "METHOD target"."""
        method, target = line.split(" ", 1)
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}", *headers, "", ""]
        with Client(self._port) as client:
            client.send("\r\n".join(lines).encode("latin-1") + body)
            return client.answer(to_head=method == "HEAD")

    @property
    def calls(self) -> list[Called]:
        return self.gateway.calls

    @property
    def args(self) -> Any:
        """The arguments of the only call there was."""
        (called,) = self.calls
        return called.args


@contextmanager
def playing(**settings: Any) -> Iterator[Front]:
    """A front that runs until the end; `settings` are of `create_app`."""
    gateway = AnsweringGateway()
    as_gateway = cast(Gateway, gateway)
    streams = StreamTable(as_gateway, 100)
    parts = AppParts(as_gateway, LongPoll(as_gateway, 30, 100), streams, sessions_of(streams), LIMITS, max_name=255)
    app = create_app(parts, **settings)
    with running(app, kept_field=kept_field) as server:
        yield Front(gateway, server.port)


def problem(answer: Answer) -> tuple[int, str, str | None]:
    """Status, code, and the parameter that it names."""
    assert answer.headers["content-type"] == "application/problem+json"
    document = json.loads(answer.body)
    assert document["status"] == answer.status
    return answer.status, document["code"], document.get("parameter")


def lines(answer: Answer) -> list[dict[str, Any]]:
    """The objects of an NDJSON answer."""
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.body == b"" or answer.body.endswith(b"\n")
    return [json.loads(line) for line in answer.body.splitlines()]
