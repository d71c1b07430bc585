"""A server whose every answer says what was asked for and over which connection, so that a wrong one is noticed."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from fanmail import Message

HELD = "held"
"""A topic whose requests are answered once `release` is set."""


class Asked(NamedTuple):
    connection: int
    method: str
    topic: str
    key: str | None


class Echo:
    """Listens while it is entered. `doubled`: the first answer of each connection comes twice."""

    def __init__(self, doubled: bool = False) -> None:
        self.asked: list[Asked] = []
        self.ended: list[int] = []
        """Connections that the other side has closed."""
        self.release = threading.Event()
        echo = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            count = 0

            def answer(self) -> None:
                self.count += 1
                topic = self.path.partition("?")[0].split("/")[1]
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                asked = Asked(self.client_address[1], self.command, topic, self.headers["Idempotency-Key"])
                echo.asked.append(asked)
                if topic == HELD:
                    echo.release.wait(60)
                for _ in range(2 if doubled and self.count == 1 else 1):
                    self.say(asked, body)

            do_GET = do_POST = do_DELETE = do_PATCH = answer

            def say(self, asked: Asked, body: bytes) -> None:
                self.send_response_only(200)
                told = {"Msg-Id": "e-1", "Msg-Time": "2026-01-01T00:00:00.000Z", "Msg-Pending": "0"}
                told |= {"Msg-Receipt": "e-1.1", "Msg-Subscribers": "1"}
                body = json.dumps([asked.topic, asked.connection]).encode()
                told |= {"X-Request-Id": self.headers["X-Request-Id"], "Content-Length": str(len(body))}
                for name, value in told.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def finish(self) -> None:
                echo.ended.append(self.client_address[1])

            def log_message(self, *_: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Echo:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()


def said(message: Message | None) -> tuple[str, int]:
    """Topic and connection that an answer speaks of."""
    assert message is not None
    topic, connection = message.json()
    return topic, connection
