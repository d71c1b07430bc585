"""Clients of a load that publish: one message at a time or batches, with and without an Idempotency-Key."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from tests.e2e.clients import PAUSE, LoadClient
from tests.e2e.cluster import Answer, Client
from tests.e2e.history import Outcome, Publish

if TYPE_CHECKING:
    from tests.e2e.load import Load

RETRIED = (503, 504)
"""Outcomes after which a client with a key repeats the publish."""


class Publisher(LoadClient):
    """A publisher that never repeats what was refused or is unknown."""

    batches = keyed = False

    def __init__(self, load: Load, name: str, topic: str, number: int, going: threading.Event) -> None:
        super().__init__(load, name, topic, number, going)
        self.count = load.batch if self.batches else 1
        self.sent = 0
        """The number of stored messages."""

    def run(self) -> None:
        number = 0
        while self._going.is_set() and not self.abandoned:
            if self._load.behind(self.topic):
                time.sleep(PAUSE)
                continue
            number += 1
            body = f"{self.name} {number}"
            batch = tuple(f"{body}.{n}".encode() for n in range(self.count)) if self.count > 1 else ()
            note = self.note(Publish, body=body.encode(), batch=batch, key=f"{number}" if self.keyed else "")
            assert isinstance(note, Publish)
            answer = self._publish(note)
            note.msg_id = answer.headers.get("Msg-Id", "") if answer is not None else ""
            if note.msg_id:
                self.sent += self.count
            time.sleep(self._load.pace_s)

    def _publish(self, note: Publish) -> Answer | None:
        return self.call(note, lambda web: self._send(web, note))

    def _send(self, web: Client, note: Publish) -> Answer:
        headers = {"Idempotency-Key": f"{self.name} {note.key}".replace(" ", "_")} if note.key else {}
        if not note.batch:
            return web.publish(self.topic, note.body, headers)
        return web.call("POST", f"/{self.topic}?batch=lines", b"\n".join(note.batch), headers)


class KeyedPublisher(Publisher):
    """A publisher that repeats everything under its key until it knows that it was done, even after publishing ends."""

    keyed = True

    def _publish(self, note: Publish) -> Answer | None:
        tried = set()
        with self._load.history.noting(note):
            while True:
                answer, outcome = self.attempt(lambda web: self._send(web, note))
                tried.add(outcome)
                final = answer is not None and answer.status not in RETRIED
                if final or self.abandoned:
                    break
            if outcome is Outcome.FAILED and Outcome.UNKNOWN in tried:
                outcome = Outcome.UNKNOWN
            note.outcome = outcome
        return answer


class BatchPublisher(Publisher):
    """A `Publisher` of batches."""

    batches = True


class KeyedBatchPublisher(KeyedPublisher):
    """A `KeyedPublisher` of batches."""

    batches = True


class ForgetfulPublisher(KeyedPublisher):
    """A publisher that repeats everything without a key: a negative control."""

    keyed = False


PUBLISHERS: dict[str, type[Publisher]] = {
    "single": Publisher,
    "batch": BatchPublisher,
    "keyed": KeyedPublisher,
    "keyed-batch": KeyedBatchPublisher,
    "forgetful": ForgetfulPublisher,
}
