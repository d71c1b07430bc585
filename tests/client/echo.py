"""A server whose responses say what was asked for and over which connection, so that wrong ones are detected."""

from __future__ import annotations

import json
import threading
from typing import NamedTuple

from fanmail import Message
from tests.client.listening import Listening, Quiet

HELD = "held"
"""A topic whose requests are answered when `release` is set."""


class Asked(NamedTuple):
    connection: int
    method: str
    topic: str
    key: str | None


class Echo(Listening):
    """A server that listens within a `with` statement. If `doubled`, each connection gets its first response twice."""

    def __init__(self, doubled: bool = False) -> None:
        self.asked: list[Asked] = []
        self.ended: list[int] = []
        """Connections that the client has closed."""
        self.release = threading.Event()
        echo = self

        class Handler(Quiet):
            count = 0

            def answer(self) -> None:
                self.count += 1
                topic = self.path.partition("?")[0].split("/")[1]
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                asked = Asked(self.client_address[1], self.command, topic, self.headers["Idempotency-Key"])
                echo.asked.append(asked)
                if topic == HELD:
                    echo.release.wait(60)
                for _ in range(2 if doubled and self.count == 1 else 1):
                    self.say(asked)

            do_GET = do_POST = do_DELETE = do_PATCH = answer

            def say(self, asked: Asked) -> None:
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

        super().__init__(Handler)

    def __exit__(self, *of_error: object) -> None:
        self.release.set()
        super().__exit__(*of_error)


def said(message: Message | None) -> tuple[str, int]:
    """Return the topic and the connection that a response names."""
    assert message is not None
    topic, connection = message.json()
    return topic, connection
