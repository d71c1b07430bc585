"""Random histories of all operations of a broker, over a durable store with tiny thresholds."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from broker.store.base import Owner
from broker.store.sqlite.store import SqliteStore
from common.protocol import ops
from common.protocol.ops import Op
from tests.support.driver import ROOMY, SECOND, STORE_ID, BrokerDriver, batch
from tests.support.tiny import TINY, TINY_STORE

LIMITS = ROOMY._replace(topic_messages=40, leases=6, lease_window=12, dead=3, keys=3, delayed=5, key_ttl=20 * SECOND)
TOPICS, USERS = [b"a", b"b", b"c", b"d", b"e"], [b"u", b"v", b"w", b"x", b"y"]
MEMORY = Path("/dev/shm")
"""A place where a sync costs nothing."""


def new_folder() -> Path:
    """Return a new folder for stores, which the caller removes."""
    return Path(tempfile.mkdtemp(prefix="fm-", dir=MEMORY if MEMORY.is_dir() else None))


class History:
    """One broker and its store. Refused operations are ignored."""

    def __init__(self, rng: Random, root: Path, *, body_bytes: int = 40) -> None:
        """Use a folder in `root` for each life of the store."""
        self.rng = rng
        self.root = root
        self.lives = 0
        self.body_bytes = body_bytes
        self.folder = root / "0"
        self.folder.mkdir()
        self.broker = self.open()
        self.receipts: list[ops.Receipt] = []
        self.published = 0

    def open(self, clock: Any = None) -> BrokerDriver:
        """Return a broker on the contents of the folder. Raises `UnusableStoreError`."""
        store = SqliteStore(self.folder, Owner("fanmail", "b0"), STORE_ID, reserve=-(2**40), thresholds=TINY_STORE)
        clocks = {} if clock is None else {"clock": clock}
        try:
            return BrokerDriver(LIMITS, store, keep=self.rng.choice((0, 100, 2**40)), thresholds=TINY, **clocks)
        except BaseException:
            store.close()
            raise

    def killed(self) -> None:
        """Move to a copy of the folder as it is at this moment, and close everything."""
        self.lives += 1
        old, self.folder = self.folder, self.root / f"{self.lives}"
        shutil.copytree(old, self.folder)
        self.broker.store.close()  # which tidies up the old folder
        shutil.rmtree(old)

    def step(self) -> None:
        """Execute one operation, or publish a few messages for many users."""
        name = self.rng.choices(list(STEPS), weights=[weight for weight, _ in STEPS.values()])[0]
        STEPS[name][1](self, self.rng.choice(TOPICS), self.rng.choice(USERS))

    def body(self) -> bytes:
        """Return a body that no other message has."""
        self.published += 1
        return b"%d " % self.published + self.rng.randbytes(self.rng.randrange(self.body_bytes))


def _publish(history: History, topic: bytes, user: bytes) -> None:
    rng = history.rng
    options = {
        "ttl": rng.choice((0, 0, 0, 2000, 20_000)),
        "delay": rng.choice((0, 0, 0, 0, 3000)),
        "key": rng.choice((b"", b"", b"k%d" % rng.randrange(5))),
    }
    if options["key"]:
        options["digest"] = bytes(16)
    headers = rng.choice((b"", b"kept" * 4))
    if rng.random() < 0.3:
        messages = [history.body() for _ in range(rng.randrange(1, 6))]
        history.broker.ask(Op.PUBLISH, topic, args=batch(*messages, headers=headers, **options))
    else:
        history.broker.publish(topic, history.body(), headers, **options)


def _fill(history: History, topic: bytes, user: bytes) -> None:
    """Publish many messages that the following operations free at once."""
    for _ in range(history.rng.randrange(8, 16)):
        history.broker.publish(topic, history.body())


def _read_at_once(history: History, topic: bytes, user: bytes) -> None:
    """Store and free a message within a burst, while no other user has anything to read."""
    for _ in range(history.rng.randrange(1, 4)):
        history.broker.publish(topic, history.body())
        history.broker.fetch(topic, user)


def _read(history: History, topic: bytes, user: bytes) -> None:
    if history.rng.random() < 0.5:
        history.broker.take(topic, user)
    else:
        history.broker.fetch(topic, user, history.rng.choice((1, 3, 1000)))


def _after(history: History, topic: bytes, user: bytes) -> None:
    found = history.broker.after(topic, user).result
    if found is not None:
        ahead = history.rng.choice((0, 0, 1, 20))
        history.broker.after(topic, user, f"{found.epoch}-{found.seq + ahead}")


def _lease(history: History, topic: bytes, user: bytes) -> None:
    for _ in range(history.rng.randrange(1, 4)):
        found = history.broker.lease(topic, user, history.rng.choice((1, 10))).result
        if found is not None:
            history.receipts.append(ops.Receipt(found.epoch, found.seq, found.attempt))


def _handle(history: History, topic: bytes, user: bytes) -> None:
    rng = history.rng
    for receipt in rng.sample(history.receipts, min(3, len(history.receipts))):
        if rng.random() < 0.5:
            history.broker.ask(Op.FINISH, topic, user, ops.Finish([receipt]))
        else:
            history.broker.extend(topic, user, receipt, rng.choice((0, 0, 10)), rng.choice((0, 2)))


def _change(history: History, topic: bytes, user: bytes) -> None:
    most = history.rng.choice((4, 40))
    args = ops.ChangeTopic(["max_messages", "drop_oldest"], ops.TopicSettings(max_messages=most, drop_oldest=most == 4))
    history.broker.ask(Op.TOPIC_CHANGE, topic, args=args)


def _settings(history: History, topic: bytes, user: bytes) -> None:
    history.broker.configure(
        topic, user, max_deliveries=history.rng.choice((0, 1, 2)), expires_after=history.rng.choice((0, 30 * SECOND))
    )


STEPS: dict[str, tuple[int, Callable[[History, bytes, bytes], object]]] = {
    "subscribe": (12, lambda history, topic, user: history.broker.subscribe(topic, user)),
    "unsubscribe": (3, lambda history, topic, user: history.broker.unsubscribe(topic, user)),
    "publish": (14, _publish),
    "fill": (3, _fill),
    "read at once": (4, _read_at_once),
    "read": (8, _read),
    "after": (4, _after),
    "lease": (6, _lease),
    "handle": (6, _handle),
    "put back": (3, lambda history, topic, user: history.broker.ask(Op.DEAD_RETURN, topic, user)),
    "clear": (1, lambda history, topic, user: history.broker.ask(Op.DEAD_CLEAR, topic, user)),
    "settings": (3, _settings),
    "change": (2, _change),
    "purge": (2, lambda history, topic, user: history.broker.ask(Op.PURGE, topic, user)),
    "end": (1, lambda history, topic, user: history.broker.ask(Op.TOPIC_END, topic, args=ops.EndTopic(1000))),
    "time": (6, lambda history, topic, user: history.broker.elapse(history.rng.choice((0.5, 3, 12)))),
}
"""Weight and function of each step."""
