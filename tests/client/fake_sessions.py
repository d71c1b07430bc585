"""A server of sessions that a test scripts: it answers by the operations' names, and drops connections when told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any, Self

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

from tests.e2e.cluster import wait_for

Members = dict[str, Any]
Answer = Callable[[ServerConnection, Members], None]


def send(connection: ServerConnection, **members: Any) -> None:
    connection.send(json.dumps(members))


def ok(connection: ServerConnection, op: Members, **members: Any) -> None:
    """Answer an operation, if it wants one."""
    if op.get("ref") is not None:
        send(connection, op="ok", ref=op["ref"], **members)


def problem(connection: ServerConnection, op: Members, status: int, code: str, **members: Any) -> None:
    send(connection, op="error", ref=op["ref"], status=status, code=code, detail=f"about {code}", **members)


def message(connection: ServerConnection, op: Members, seq: int, receipt: str = "", **members: Any) -> None:
    """Send a message of the mailbox that an operation names."""
    about = {"op": "message", "topic": op["topic"], "user": op["user"], "id": f"e-{seq}", "attempt": 1}
    about |= {"time": "2026-01-01T00:00:00.000Z", "type": "text/plain", "text": str(seq)}
    send(connection, **about, **({"receipt": receipt} if receipt else {}), **members)


class FakeSessions:
    """It listens within a `with` statement. `answers` by name of operation replace the default `ok`."""

    def __init__(self, **answers: Answer) -> None:
        self.answers = answers
        self.got: list[Members] = []
        """All operations, in order; connections are numbered from 1 as `connection`."""
        self.refusals: list[tuple[int, str]] = []
        """Statuses and codes with which the next handshakes are refused."""
        self.location = ""
        """Where refusals with a status of 3xx point to."""
        self.requests: list[Request] = []
        self.connections: list[ServerConnection] = []
        self._published = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._server: Server = serve(
            self._talk,
            "127.0.0.1",
            0,
            subprotocols=[Subprotocol("fanmail.v1.json")],
            compression=None,
            process_request=self._greet,
        )
        self.url = f"http://127.0.0.1:{self._server.socket.getsockname()[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self.drop()

    def drop(self) -> None:
        """End all connections without a word."""
        for each in self.connections:
            each.socket.close() if each.socket.fileno() < 0 else each.socket.shutdown(2)

    def ops(self, name: str = "") -> list[Members]:
        """Return the operations of a name that have arrived."""
        return [each for each in list(self.got) if name in ("", each["op"])]

    def await_ops(self, name: str, count: int) -> list[Members]:
        wait_for(lambda: len(self.ops(name)) >= count, f"{count} of {name}, and not {self.got}")
        return self.ops(name)

    def _greet(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        if not self.refusals:
            return None
        status, code = self.refusals.pop(0)
        body = json.dumps({"code": code, "status": status, "detail": f"about {code}"}).encode()
        headers = Headers({"Content-Type": "application/problem+json", "Content-Length": str(len(body))})
        if self.location:
            headers["Location"] = self.location
        return Response(status, "No", headers, body)

    def _talk(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        number = len(self.connections)
        try:
            for text in connection:
                op = json.loads(text)
                self.got.append(op | {"connection": number})
                self.answers.get(op["op"], self._default)(connection, op)
        except (ConnectionClosed, OSError):
            pass

    def _default(self, connection: ServerConnection, op: Members) -> None:
        if op["op"] == "publish":
            with self._lock:
                self._published += 1
                ok(connection, op, id=f"e-{self._published}", subscribers=1)
        else:
            ok(connection, op, **({"created": True} if op["op"] == "subscribe" else {}))
