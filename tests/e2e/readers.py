"""Clients of a load that read: by plain GET, by `after`, or by leases, one message or many at a time.

Those that are promised at-least-once delivery misbehave now and then, at random but with a seed: they ask again with an
old cursor, forget what they have leased, or give it back.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.e2e.clients import PAUSE, LoadClient
from tests.e2e.cluster import Answer, wait_for
from tests.e2e.history import Ack, Mode, Outcome, Subscribe, Take

if TYPE_CHECKING:
    from tests.e2e.load import Load

LEASE = 1
"""The shortest lease in seconds, so that forgotten messages return soon."""
BAD = 0.05
"""The share of calls in which a reader misbehaves."""


class Reader(LoadClient):
    """A reader by plain GET.

    It subscribes again after a broker has lost its memory, and ends when nothing more can come.
    """

    mode = Mode.PLAIN
    many = 1
    """The number of messages that it asks for; 0 in a class: that of its load."""

    def __init__(self, load: Load, name: str, topic: str, number: int, going: threading.Event, user: str) -> None:
        super().__init__(load, name, topic, number, going)
        self.user = user
        self.many = self.many or load.many
        self.got = 0
        """How many messages this reader has read, each counted about once."""
        self._rng = random.Random(name)
        self._free, self._paused = threading.Event(), threading.Event()
        self._free.set()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It makes no call within this block, and none that it has made is unfinished."""
        self._free.clear()
        try:
            wait_for(self._paused.is_set, f"{self.name} to pause")
            yield
        finally:
            self._paused.clear()
            self._free.set()

    def subscribe(self) -> None:
        note = self.note(Subscribe, user=self.user)
        self.call(note, lambda web: web.subscribe(self.topic, self.user))

    def run(self) -> None:
        while not self.abandoned:
            if not self._free.is_set():
                self._paused.set()
                self._free.wait()
            going = self._going.is_set()
            note = self.note(Take, user=self.user, mode=self.mode, most=self.many)
            assert isinstance(note, Take)
            query = self._query(note)
            answer = self.call(note, lambda web, query=query: web.call("GET", query))  # type: ignore[misc]
            if answer is None:
                continue
            if answer.status == 200:
                self._have(self._read(note, answer), going)
            elif answer.status == 404 and going:
                self.subscribe()
                self.got = self._load.sent(self.topic)  # earlier messages are lost, and not awaited
            elif answer.status in (204, 404):
                if not going and self._nothing_is_left():
                    return
                time.sleep(PAUSE)

    def _query(self, note: Take) -> str:
        many = f"?max={self.many}" if self.many > 1 else ""
        return f"/{self.topic}/{self.user}{many}"

    def _read(self, note: Take, answer: Answer) -> list[tuple[Take, str]]:
        """Return and record what was read, with receipts."""
        if self.many == 1:
            note.body, note.msg_id = answer.body, answer.headers["Msg-Id"]
            note.attempt = int(answer.headers["Msg-Attempt"])
            return [(note, answer.headers.get("Msg-Receipt", ""))]
        lines: list[dict[str, Any]] = [json.loads(line) for line in answer.body.splitlines()]
        copies = [note, *(replace(note) for _ in lines[1:])]
        for each, line in zip(copies, lines, strict=True):
            each.body, each.msg_id, each.attempt = line["text"].encode(), line["id"], line["attempt"]
        self._load.history.add(*copies[1:])
        return [(each, line.get("receipt", "")) for each, line in zip(copies, lines, strict=True)]

    def _have(self, messages: list[tuple[Take, str]], going: bool) -> None:
        self.got += len(messages)

    def _nothing_is_left(self) -> bool:
        return True


class ManyReader(Reader):
    """A `Reader` of many messages at a time."""

    many = 0


class AfterReader(Reader):
    """A reader by a cursor, which it forgets to advance now and then."""

    mode = Mode.AFTER
    cursor = "0"

    def _query(self, note: Take) -> str:
        note.cursor = self.cursor
        many = f"&max={self.many}" if self.many > 1 else ""
        return f"/{self.topic}/{self.user}?after={self.cursor}{many}"

    def _have(self, messages: list[tuple[Take, str]], going: bool) -> None:
        if not going or self._rng.random() >= BAD:
            self.got += len(messages)
            self.cursor = messages[-1][0].msg_id


class ManyAfterReader(AfterReader):
    """An `AfterReader` of many messages at a time."""

    many = 0


class LeaseReader(Reader):
    """A reader that leases and acknowledges; it forgets or gives back now and then, until the end is near."""

    mode = Mode.LEASE

    def _query(self, note: Take) -> str:
        many = f"&max={self.many}" if self.many > 1 else ""
        return f"/{self.topic}/{self.user}?lease={LEASE}{many}"

    def _have(self, messages: list[tuple[Take, str]], going: bool) -> None:
        self.got += sum(take.attempt == 1 for take, _ in messages)
        if going and self._rng.random() < BAD:
            return
        path = f"/{self.topic}/{self.user}"
        if going and self._rng.random() < BAD:
            receipt = messages[0][1]
            self.attempt(lambda web: web.call("PATCH", f"{path}/{receipt}?lease=0"))
            del messages[0]
        if messages:
            self._acknowledge(path, messages)

    def _acknowledge(self, path: str, messages: list[tuple[Take, str]]) -> None:
        ids = {receipt: take.msg_id for take, receipt in messages}
        note = self.note(Ack, user=self.user, tried=tuple(ids.values()))
        assert isinstance(note, Ack)
        if len(ids) == 1:
            (receipt,) = ids
            answer = self.call(note, lambda web: web.call("DELETE", f"{path}/{receipt}"))
            if answer is not None and answer.status == 200:
                note.confirmed = note.tried
            elif answer is not None and answer.status == 409:
                note.outcome = Outcome.FAILED  # the lease was lost: it is redelivered
            return
        answer = self.call(note, lambda web: web.call("POST", f"{path}/acks", "\n".join(ids).encode()))
        if answer is not None and answer.status == 200:
            results = map(json.loads, answer.body.splitlines())
            note.tried = note.confirmed = tuple(ids[each["receipt"]] for each in results if each["done"])

    def _nothing_is_left(self) -> bool:
        """Return false while messages that were leased and forgotten have yet to return."""
        answer, _ = self.attempt(lambda web: web.call("HEAD", f"/{self.topic}/{self.user}"))
        if answer is None or answer.status != 200:
            return False
        return answer.headers["Msg-Pending"] == answer.headers["Msg-Leased"] == "0"


class ManyLeaseReader(LeaseReader):
    """A `LeaseReader` of many messages at a time."""

    many = 0


READERS: dict[str, type[Reader]] = {
    "plain": Reader,
    "many": ManyReader,
    "after": AfterReader,
    "after-many": ManyAfterReader,
    "lease": LeaseReader,
    "lease-many": ManyLeaseReader,
}
