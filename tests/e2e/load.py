"""Clients in threads that publish and read without a pause, and note everything that they see."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.e2e.cluster import PATIENCE, Answer, Client, wait_for
from tests.e2e.history import Call, History, Outcome, Publish, Subscribe, Take

PAUSE = 0.005
"""Seconds between two calls that find nothing to do: two cores are few for many clients."""
REFUSED, END = "connection refused", "connection ended before an answer"
"""What a client may see of a front that stops: nobody listens, or a clean end of a kept-alive connection."""


class Seen(NamedTuple):
    """One call as its client saw it."""

    client: str
    topic: str
    port: int
    what: str
    """The status and, for an error, its code; or what happened instead of an answer."""
    at: float
    """Seconds of the monotonic clock when it was over."""
    took: float
    retry_after: bool
    detail: str


@dataclass
class Load:
    """For each topic a publisher and a reader for each user, over one front each.

    With `roam` a client whose front does not answer goes on at the next one.
    """

    ports: list[int]
    topics: list[str]
    users: tuple[str, ...] = ("ann", "bob")
    roam: bool = False
    history: History = field(default_factory=History)
    seen: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._publishing, self._reading, self._abandoned = (threading.Event() for _ in range(3))
        self._failures: list[BaseException] = []
        self._clients: list[_Publisher | _Reader] = []
        for n, topic in enumerate(self.topics):
            self._clients.append(_Publisher(self, f"publisher of {topic}", topic, self._front(n), self._publishing))
            for m, user in enumerate(self.users):
                reader = _Reader(self, f"{user} of {topic}", topic, self._front(n + m), self._reading)
                reader.user = user
                self._clients.append(reader)
        self._threads = [threading.Thread(target=self._guarded, args=(each,)) for each in self._clients]

    def __enter__(self) -> Load:
        self._publishing.set()
        self._reading.set()
        for client in self._clients:
            if isinstance(client, _Reader):
                client.subscribe()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        """Publishing ends, the readers read everything that is left, and are waited for.

        After a failure nobody goes on: a reader whose front is gone would try for ever.
        """
        if failure is not None:
            self._abandoned.set()
        self._publishing.clear()
        self._join([each for each in self._clients if isinstance(each, _Publisher)])
        self._reading.clear()
        self._join(self._clients)
        if self._failures:
            raise self._failures[0]

    def await_more(self, calls: int, topics: Iterable[str] | None = None) -> None:
        """Waits until every client of the topics has made so many more successful calls."""
        chosen = set(self.topics if topics is None else topics)
        clients = [each for each in self._clients if each.topic in chosen]
        wanted = {each.name: each.succeeded + calls for each in clients}
        wait_for(
            lambda: self._failures or all(each.succeeded >= wanted[each.name] for each in clients),
            f"{calls} more calls of {sorted(wanted)}",
        )

    def summary(self, topics: Iterable[str], after: float = 0.0) -> Counter[str]:
        """How often each thing was seen on the topics."""
        chosen = set(topics)
        return Counter(each.what for each in self.seen if each.topic in chosen and each.at >= after)

    def others(self, topics: Iterable[str], allowed: set[str]) -> list[Seen]:
        """The calls on the topics that saw anything else."""
        chosen = set(topics)
        return [each for each in self.seen if each.topic in chosen and each.what not in allowed]

    def _join(self, clients: Sequence[_Publisher | _Reader]) -> None:
        until = time.monotonic() + PATIENCE
        threads = [self._threads[self._clients.index(each)] for each in clients]
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        hanging = any(thread.is_alive() for thread in threads)
        if hanging:
            self._abandoned.set()
            assert not hanging, "a client hangs, or its front does not answer any more"

    def _front(self, n: int) -> int:
        return self.ports[n % len(self.ports)]

    def _guarded(self, client: _Publisher | _Reader) -> None:
        try:
            client.run()
        except BaseException as error:
            self._failures.append(error)
        finally:
            client.close()


class _LoadClient:
    """One thread's client."""

    def __init__(self, load: Load, name: str, topic: str, port: int, going: threading.Event) -> None:
        self.name = name
        self.topic = topic
        self.port = port
        self.succeeded = 0
        self._load = load
        self._going = going
        self._abandoned = load._abandoned
        self._client = Client(port)

    def close(self) -> None:
        self._client.close()

    def call(self, note: Call, ask: Callable[[Client], Answer]) -> Answer | None:
        """One call, noted; None where there was no answer."""
        began = time.monotonic()
        answer, retry_after, detail = None, False, ""
        with self._load.history.noting(note):
            try:
                answer = ask(self._client)
                what = str(answer.status)
                retry_after = "Retry-After" in answer.headers
                if answer.status >= 400:
                    what, detail = f"{what} {answer.code}", str(json.loads(answer.body)["detail"])
                note.outcome = _outcome(answer.status)
            except ConnectionRefusedError:
                what, note.outcome = REFUSED, Outcome.FAILED
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
            time.sleep(PAUSE)
        return answer

    def note(self, kind: type[Call], **more: object) -> Call:
        return kind(self.name, self.topic, time.monotonic(), **more)  # type: ignore[arg-type]

    def _move(self) -> None:
        if self._load.roam:
            ports = self._load.ports
            self.port = ports[(ports.index(self.port) + 1) % len(ports)]
            self._client.close()
            self._client = Client(self.port)


def _outcome(status: int) -> Outcome:
    """404 is an answer too: there was nothing to do it with."""
    if status < 300 or status == 404:
        return Outcome.OK
    return Outcome.FAILED if status in (429, 503) else Outcome.UNKNOWN


class _Publisher(_LoadClient):
    def run(self) -> None:
        number = 0
        while self._going.is_set() and not self._abandoned.is_set():
            number += 1
            body = f"{self.name} {number}".encode()
            note = self.note(Publish, body=body)
            assert isinstance(note, Publish)
            answer = self.call(note, lambda web, body=body: web.publish(self.topic, body))  # type: ignore[misc]
            if answer is not None:
                note.msg_id = answer.headers.get("Msg-Id", "")


class _Reader(_LoadClient):
    user = ""

    def subscribe(self) -> None:
        note = self.note(Subscribe, user=self.user)
        self.call(note, lambda web: web.subscribe(self.topic, self.user))

    def run(self) -> None:
        """Reads; subscribes again after a broker has lost its memory; ends when nothing more can come."""
        while not self._abandoned.is_set():
            going = self._going.is_set()
            note = self.note(Take, user=self.user)
            assert isinstance(note, Take)
            answer = self.call(note, lambda web: web.take(self.topic, self.user))
            if answer is None:
                continue
            if answer.status == 200:
                note.body, note.msg_id = answer.body, answer.headers["Msg-Id"]
            elif answer.status == 404 and going:
                self.subscribe()
            elif answer.status in (204, 404):
                if not going:
                    return
                time.sleep(PAUSE)
