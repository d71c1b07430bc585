"""What a broker process leaves behind for the next one, and how it may die over it.

The `sqlite` disk is the real store on a folder in memory. A kill takes the files as they are at that moment; in a torn
commit an arbitrary choice of the sectors that it had to write is there, which is what a power loss before the sync
leaves. The `kept` one is the mirror of the unit tests, fast and without files, whose commits happen or do not.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Protocol

from broker.errors import StoreError
from broker.records import Content, MessageStored, Record
from broker.store.base import Backup, Owner, Store
from broker.store.memory import MemoryStore
from broker.store.sqlite.files import FILE
from broker.store.sqlite.store import SqliteStore
from broker.store.sqlite.thresholds import DEFAULT
from common.clock import NEW, Mark
from tests.simulation.world import Killed, Task, World
from tests.support.mirror import MirrorStore
from tests.support.tiny import TINY_STORE

SECTOR = 512
"""Bytes that a disk writes as one."""
LOADING = 0.1
"""How often a store takes its time between two records while it is loaded."""


class Death(StrEnum):
    """How the next commit ends."""

    BEFORE = "before"
    """Killed before anything is written."""
    TORN = "torn"
    """Power loss in the middle of it."""
    AFTER = "after"
    """Killed when all is durable, before anybody is answered."""
    RAISES = "raises"
    """The disk fails, nothing is stored, and the broker ends by itself."""
    RAISES_LATE = "raises-late"
    """The disk fails, and all is stored."""


class Closing(Protocol):
    """A store, as far as a disk needs it when its process is gone."""

    def close(self) -> None: ...


class Disk(Protocol):
    """Of one broker, outliving its processes."""

    durable: bool

    def open(self) -> Store:
        """For a process that begins."""
        ...

    def tear(self, store: Store, records: Sequence[Record], clock: Mark) -> bool:
        """A commit in whose middle the power fails; whether all of it was kept."""
        ...

    def killed(self, store: Store) -> None:
        """The process is gone without having closed its store."""
        ...

    def close(self) -> None:
        """The run is over."""
        ...


class Memory:
    """Nothing is left behind."""

    durable = False

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def open(self) -> Store:
        return MemoryStore(f"{self._rng.getrandbits(32):08x}")

    def tear(self, store: Store, records: Sequence[Record], clock: Mark) -> bool:
        return False

    def killed(self, store: Store) -> None:
        """There is nothing to close."""

    def close(self) -> None:
        """Nothing is held."""


class KeptStore(MirrorStore):
    """Keeps the clock too."""

    def begin(self, records: Sequence[Record], clock: Mark = NEW, cuts: Sequence[int] = ()) -> None:
        super().begin(records, clock)
        self.clock = max(self.clock, clock)


class Kept:
    """All commits that were not torn off."""

    durable = True

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._store = KeptStore(f"{rng.getrandbits(32):08x}", lazy=rng.random() < 0.5)

    def open(self) -> Store:
        return self._store

    def tear(self, store: Store, records: Sequence[Record], clock: Mark) -> bool:
        all_of_it = self._rng.random() < 0.5
        if all_of_it:
            store.begin(records, clock)
        return all_of_it

    def killed(self, store: Store) -> None:
        """What was committed is there."""

    def close(self) -> None:
        """Nothing is held."""


class Sqlite:
    """A folder."""

    durable = True

    def __init__(self, rng: Random, owner: Owner) -> None:
        self._rng = rng
        self._owner = owner
        self._id = f"{rng.getrandbits(32):08x}"
        self._thresholds = rng.choice((DEFAULT, TINY_STORE))
        memory = Path("/dev/shm")  # a sync costs nothing there
        self._root = Path(tempfile.mkdtemp(prefix="fanmail-simulation-", dir=memory if memory.is_dir() else None))
        self._lives = 0
        self._folder = self._root / "0"
        self._folder.mkdir()
        self._torn: dict[str, bytes] | None = None
        """The files as a power loss left them."""

    def open(self) -> Store:
        return SqliteStore(self._folder, self._owner, self._id, reserve=-(2**40), thresholds=self._thresholds)

    def tear(self, store: Store, records: Sequence[Record], clock: Mark) -> bool:
        return self.tear_write(lambda: store.begin(records, clock))

    def tear_write(self, write: Callable[[], object]) -> bool:
        """The power fails in the middle of a write; whether all of it was kept."""
        before = self._files()
        write()
        after = self._files()
        if before[FILE] != after[FILE]:
            self._torn = after
            return True  # it was synced, or the log would not have gone into the file
        self._torn = {name: self._mixed(before.get(name, b""), content) for name, content in after.items()}
        return self._torn == after

    def killed(self, store: Closing) -> None:
        self._lives += 1
        files, self._torn = self._torn or self._files(), None
        old, self._folder = self._folder, self._root / f"{self._lives}"
        self._folder.mkdir()
        for name, content in files.items():
            (self._folder / name).write_bytes(content)
        store.close()  # which tidies up the old folder
        shutil.rmtree(old)

    def close(self) -> None:
        shutil.rmtree(self._root)

    def _files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self._folder.iterdir())}

    def _mixed(self, before: bytes, after: bytes) -> bytes:
        """Some sectors are written, and the file may be too short."""
        sectors = []
        share = self._rng.choice((0.1, 0.5, 0.9, 1.0))
        for at in range(0, len(after), SECTOR):
            old, new = before[at : at + SECTOR], after[at : at + SECTOR]
            written = old == new or self._rng.random() < share
            sectors.append(new if written else old.ljust(len(new), b"\0"))
        end = len(after) if share == 1.0 else self._rng.randint(min(len(before), len(after)), len(after))
        return b"".join(sectors)[:end]


class DyingStore:
    """What a broker process has of its disk: slow now and then, and deadly when it is to be. Wraps the real one."""

    def __init__(self, world: World, task: Task, name: str, disk: Disk, slow: float) -> None:
        """`slow`: seconds that a commit takes at the most."""
        self.store = disk.open()
        self.durable = self.store.durable
        self.fenced = self.store.fenced
        self.fileno = self.store.fileno
        self.clock = self.store.clock
        self.synced_us = 0
        self.lost = ()
        self.death: Death | None = None
        self.waits_for_message = False
        """The death comes with the next commit of a message."""
        self._world = world
        self._task = task
        self._name = name
        self._disk = disk
        self._slow = slow

    def load(self) -> Iterator[Record]:
        for record in self.store.load():
            if self._world.rng.random() < LOADING:
                self._task.sleep(self._world.rng.uniform(0.0, 0.1))
            yield record

    def begin(self, burst: Sequence[Record], clock: Mark, cuts: Sequence[int] = ()) -> None:
        death = self.death
        if self.waits_for_message and not any(isinstance(each, MessageStored) for each in burst):
            death = None
        if death is not None:
            self.death = None
        self._world.note("commit", self._name, len(burst), death or "")
        if self._slow:
            self._task.sleep(self._world.rng.uniform(0.0, self._slow))
        if death is Death.BEFORE:
            raise Killed
        if death is Death.TORN:
            self._world.note("torn", self._name, "kept" if self._disk.tear(self.store, burst, clock) else "lost")
            raise Killed
        if death is Death.RAISES:
            raise StoreError("the disk fails")
        self.store.begin(burst, clock, cuts)
        if death is Death.AFTER:
            raise Killed
        if death is Death.RAISES_LATE:
            raise StoreError("the disk fails late")

    @property
    def stored_piece(self) -> int:
        return self.store.stored_piece

    def settled(self) -> bool:
        return self.store.settled()

    def read(self, piece: int) -> Content:
        return self.store.read(piece)

    def writable_bytes(self) -> int:
        return self.store.writable_bytes()

    def reclaim(self) -> bool:
        return self.store.reclaim()

    def backup(self, name: str) -> tuple[Path, Backup]:
        return self.store.backup(name)

    def close(self) -> None:
        self.store.close()
