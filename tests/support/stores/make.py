"""Make the store of one schema, with rows of every kind.

It uses the code of the commit that is checked out where it runs:

    git worktree add --detach /tmp/old COMMIT && cd /tmp/old
    PYTHONPATH=. PYTHONSAFEPATH=1 PYTHON_OF_THE_PROJECT THIS_FILE /tmp/made && gzip -9n < /tmp/made/store.db > N.db.gz

1.db.gz is of 3997eee, 2.db.gz of b4dd788, 3.db.gz of 125a5bf. A release that raises the schema adds the file of the
previous one.
"""

from __future__ import annotations

import sys
from itertools import takewhile
from pathlib import Path

from broker import records as rec
from broker.records import DeadLetter, Payload
from broker.store.base import Owner
from broker.store.sqlite.store import SqliteStore
from tests.support.driver import STORE_ID, BrokerDriver
from tests.support.life import BATCH, LIFE, OFFSETS, T, V, live

OWNER = ("fanmail", "b0", "b0")
"""Cluster, broker, and all brokers, which schema 1 did not know."""

MORE: list[list[rec.Record]] = [
    [rec.MessageStored(T, 8, 1_900, Payload(b"", BATCH, 3, OFFSETS), 9_000)],
    [rec.Leased(T, V, 5, 2, 1, 9_000_000), rec.SubscriptionSet(T, V, 7)],
    [rec.DeadLettered(T, V, DeadLetter(5, 1_702, 1, b"kept", b"dead", 0))],
]
"""So that a batch, an open lease and a dead letter are left, too."""

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir()
    store = SqliteStore(folder, Owner(*OWNER[: len(Owner._fields)]), STORE_ID, reserve=0)
    broker = live(
        BrokerDriver(store=store), takewhile(lambda burst: not isinstance(burst[0], rec.SubscriptionEnded), LIFE)
    )
    live(broker, MORE)
    store.close()
