"""What publishers and readers of a load share: one connection, one call at a time, and everything is recorded."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from tests.e2e.cluster import Answer, Client
from tests.e2e.history import Call, Outcome

if TYPE_CHECKING:
    from tests.e2e.load import Load

PAUSE, RETRY = 0.02, 0.03
"""Seconds after a call that finds nothing to do, and after one that fails. What is being started needs the processor
more than those who wait for it.
"""
REFUSED, END = "connection refused", "connection ended before an answer"
"""What a client may see of a front that stops: a refused connection, or a clean end of a kept-alive one."""
RESET = "ConnectionResetError(104, 'Connection reset by peer')"
KILLED = {REFUSED, END, RESET, "BrokenPipeError(32, 'Broken pipe')"}
"""What it may see of one that is killed."""

Ask = Callable[[Client], Answer]


class Seen(NamedTuple):
    """One call as its client saw it."""

    client: str
    topic: str
    port: int
    what: str
    """The status and, for an error, its code; or what happened instead of an answer."""
    at: float
    """When it ended, in seconds of the monotonic clock."""
    took: float
    retry_after: bool
    detail: str


class LoadClient:
    """The client of one thread. `number` chooses its front."""

    def __init__(self, load: Load, name: str, topic: str, number: int, going: threading.Event) -> None:
        self.name = name
        self.topic = topic
        self.port = load.ports[number % len(load.ports)]
        self.succeeded = 0
        self._load = load
        self._going = going
        self._client = Client(self.port)

    def run(self) -> None:
        """Make calls until `going` is cleared and nothing is left to do."""
        raise NotImplementedError

    def close(self) -> None:
        self._client.close()

    @property
    def abandoned(self) -> bool:
        return self._load.abandoned.is_set()

    def call(self, note: Call, ask: Ask) -> Answer | None:
        """Make one call and record it. Return None if there was no response."""
        with self._load.history.noting(note):
            answer, note.outcome = self.attempt(ask)
        return answer

    def attempt(self, ask: Ask) -> tuple[Answer | None, Outcome]:
        """Make one call, and return what is known of it without recording it."""
        began = time.monotonic()
        answer, outcome, retry_after, detail = None, Outcome.UNKNOWN, False, ""
        try:
            answer = ask(self._client)
            what = str(answer.status)
            retry_after = "Retry-After" in answer.headers
            if answer.status >= 400 and answer.body:
                what, detail = f"{what} {answer.code}", str(json.loads(answer.body)["detail"])
            outcome = outcome_of(answer.status)
        except ConnectionRefusedError:
            what, outcome = REFUSED, Outcome.FAILED
        except http.client.RemoteDisconnected:
            what = END
        except (OSError, http.client.HTTPException) as error:
            what = repr(error)
        now = time.monotonic()
        self._load.seen.append(Seen(self.name, self.topic, self.port, what, now, now - began, retry_after, detail))
        if answer is None:
            self._move()
        if answer is not None and answer.status < 300:
            self.succeeded += 1
        else:
            time.sleep(RETRY)
        return answer, outcome

    def note(self, kind: type[Call], **more: object) -> Call:
        """Return a record of a call that begins now."""
        return kind(self.name, self.topic, time.monotonic(), **more)  # type: ignore[arg-type]

    def _move(self) -> None:
        if self._load.roam:
            ports = self._load.ports
            self.port = ports[(ports.index(self.port) + 1) % len(ports)]
            self._client.close()
            self._client = Client(self.port)


def outcome_of(status: int) -> Outcome:
    """Return the outcome of a status. 404 and 409 are answers, too: there was nothing to act on."""
    if status < 300 or status in (404, 409):
        return Outcome.OK
    return Outcome.FAILED if status in (429, 503) else Outcome.UNKNOWN
