"""Many clients that publish and read, and record everything that they see."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tests.e2e.clients import LoadClient, Seen
from tests.e2e.cluster import PATIENCE, wait_for
from tests.e2e.history import History
from tests.e2e.publishers import PUBLISHERS, Publisher
from tests.e2e.readers import READERS, Reader
from tests.e2e.session_readers import SESSION_PUBLISHERS, SESSION_READERS
from tests.e2e.stream_readers import STREAM_READERS

BACKLOG = 200
"""How many messages a publisher may be ahead of the readers of its topic."""
BATCH, MANY = 5, 20
"""Messages of a publisher's batch, and the number that a reader of many asks for."""

SPARING = 0.05
"""Seconds: leaves the processor to those who are started again."""

R = TypeVar("R", bound=Reader)
ALL_PUBLISHERS = PUBLISHERS | SESSION_PUBLISHERS
ALL_READERS = READERS | STREAM_READERS | SESSION_READERS


@dataclass
class Load:
    """For each topic its publishers and one reader per user, each over one front and in a thread of its own.

    With `roam`, a client whose front does not answer switches to the next one. `modes` says how users read who do not
    use plain `GET`, `publishers` who publishes to each topic (`tests/e2e/publishers.py`).
    """

    ports: list[int]
    topics: list[str]
    users: tuple[str, ...] = ("ann", "bob")
    roam: bool = False
    modes: Mapping[str, str] = field(default_factory=dict)
    publishers: tuple[str, ...] = ("single",)
    patience: float = PATIENCE
    """Seconds that the readers may take to read what is left."""
    pace_s: float = 0.0
    """Seconds that a publisher pauses after each publish: `SPARING` where faults count, and not calls."""
    batch: int = BATCH
    many: int = MANY
    backlog: int = BACKLOG
    history: History = field(default_factory=History)
    seen: list[Seen] = field(default_factory=list)
    abandoned: threading.Event = field(default_factory=threading.Event)
    """Set when all clients must stop at once."""

    def __post_init__(self) -> None:
        self._publishing, self._reading = threading.Event(), threading.Event()
        self._failures: list[BaseException] = []
        self._publishers: list[Publisher] = []
        self._readers: list[Reader] = []
        for n, topic in enumerate(self.topics):
            for k, kind in enumerate(self.publishers):
                name = f"publisher of {topic}" if len(self.publishers) == 1 else f"{kind} of {topic}"
                self._publishers.append(ALL_PUBLISHERS[kind](self, name, topic, n + k, self._publishing))
            for m, user in enumerate(self.users):
                kind = ALL_READERS[self.modes.get(user, "plain")]
                self._readers.append(kind(self, f"{user} of {topic}", topic, n + m, self._reading, user))
        self._clients: list[LoadClient] = [*self._publishers, *self._readers]
        self._threads = [threading.Thread(target=self._guarded, args=(each,)) for each in self._clients]

    def __enter__(self) -> Load:
        self._publishing.set()
        self._reading.set()
        for reader in self._readers:
            reader.subscribe()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, failure: object, *_: object) -> None:
        """Stop publishing, and wait until the readers have read everything that is left.

        After a failure all stop at once: a reader whose front is gone would retry endlessly.
        """
        if failure is not None:
            self.abandoned.set()
        self._publishing.clear()
        self._join(self._publishers)
        self._reading.clear()
        self._join(self._clients)
        if self._failures:
            raise self._failures[0]

    def await_more(self, calls: int, topics: Iterable[str] | None = None) -> None:
        """Wait until every client of the topics has made this many more successful calls."""
        chosen = set(self.topics if topics is None else topics)
        clients = [each for each in self._clients if each.topic in chosen]
        wanted = {each.name: each.succeeded + calls for each in clients}
        wait_for(
            lambda: self._failures or all(each.succeeded >= wanted[each.name] for each in clients),
            f"{calls} more calls of {sorted(wanted)}",
        )

    def reader(self, topic: str, user: str) -> Reader:
        return next(each for each in self._readers if (each.topic, each.user) == (topic, user))

    def readers_of(self, kind: type[R]) -> list[R]:
        """Return the readers of a kind."""
        return [each for each in self._readers if isinstance(each, kind)]

    def behind(self, topic: str) -> bool:
        """Return whether the readers of a topic are so far behind that its publishers should wait for them."""
        got = [each.got for each in self._readers if each.topic == topic]
        return bool(got) and self.sent(topic) - min(got) > self.backlog

    def sent(self, topic: str) -> int:
        """Return how many messages were published to a topic."""
        return sum(each.sent for each in self._publishers if each.topic == topic)

    def summary(self, topics: Iterable[str], after: float = 0.0) -> Counter[str]:
        """Return how often each outcome was seen on the topics."""
        chosen = set(topics)
        return Counter(each.what for each in self.seen if each.topic in chosen and each.at >= after)

    def others(self, topics: Iterable[str], allowed: set[str]) -> list[Seen]:
        """Return the calls on the topics that had any other outcome."""
        chosen = set(topics)
        return [each for each in self.seen if each.topic in chosen and each.what not in allowed]

    def _join(self, clients: Sequence[LoadClient]) -> None:
        until = time.monotonic() + self.patience
        threads = [self._threads[self._clients.index(each)] for each in clients]
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        hanging = [each.name for each, thread in zip(clients, threads, strict=True) if thread.is_alive()]
        if hanging:
            self.abandoned.set()
            assert not hanging, f"these hang, or their fronts do not answer any more: {hanging}"

    def _guarded(self, client: LoadClient) -> None:
        try:
            client.run()
        except BaseException as error:
            self._failures.append(error)
        finally:
            client.close()
