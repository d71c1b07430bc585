"""Brokers with two candidates: real loops, states and SQLite files over one log in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from broker.errors import DeposedError, StoreError
from broker.records import MessageStored, Record
from broker.replica.entry import NO_CHAIN, Clocks, Entry, Genesis, Kind, encode_entry, say
from broker.replica.limits import ReplicaLimits
from broker.replica.space import SpaceThresholds
from broker.replica.store import Identity, ReplicaStore
from broker.replica.thresholds import ReplicaThresholds
from broker.server.process import Process
from broker.store.base import Owner
from broker.store.sqlite.log_state import LogStateStore
from common.clock import Machine, Mark, SystemClock
from common.cluster.slots import BrokerAddress, ClusterMap
from common.protocol.wire import BrokerState
from tests.simulation.brokers import EPOCH, Broker, BrokerProcess
from tests.simulation.disks import Death, Sqlite
from tests.simulation.network import Network
from tests.simulation.sockets import descriptors
from tests.simulation.world import Killed, World
from tests.support.driver import loaded
from tests.support.memory_log import MemoryLog, SharedLog
from tests.support.snapshot import snapshot

LOG_ID = b"log id 1"
COMPARED = 0.1
"""Seconds between two looks whether the candidates are in step."""
ROOMY = 2**30
"""Bytes that a log may have while it is not full."""
AS_IT_IS = ReplicaThresholds()
FAST = ReplicaThresholds(1.0, 0.3, 0.5, 0.2, 0.4, 0.3, behind_s=10.0)
"""Times of the log: such that more happens in a run."""


class LocalDisk(Sqlite):
    """The folder of one candidate, outliving its processes."""

    def open_file(self, genesis: Genesis) -> DyingFile:
        owner, store_id = self._owner, genesis.store_id
        file = DyingFile(self._folder, owner, store_id, -(2**40), LOG_ID.hex(), thresholds=self._thresholds)
        file.disk = self
        return file


class DyingFile(LogStateStore):
    """A local store whose next flush is deadly when it is to be."""

    disk: LocalDisk
    death: Death | None = None

    def flush(self, facts: Mapping[str, str | int], clock: Mark) -> None:
        death, self.death = self.death, None
        if death is Death.BEFORE:
            raise Killed
        if death is Death.RAISES:
            raise StoreError("the disk fails")
        if death is Death.TORN:
            self.disk.tear_write(lambda: LogStateStore.flush(self, facts, clock))
            raise Killed
        super().flush(facts, clock)
        if death is Death.AFTER:
            raise Killed
        if death is Death.RAISES_LATE:
            raise StoreError("the disk fails late")


class DyingReplica(ReplicaStore):
    """A candidate that dies before an append, or when it is sent, or in a flush, when it is to."""

    death: Death | None = None
    waits_for_message = False

    def begin(self, burst: Sequence[Record], clock: Mark, cuts: Sequence[int] = ()) -> None:
        death = self.death
        if self.waits_for_message and not any(isinstance(each, MessageStored) for each in burst):
            death = None
        if death is not None:
            self.death = None
        if death is Death.BEFORE:
            raise Killed
        super().begin(burst, clock, cuts)
        if death is Death.AFTER:
            raise Killed
        if death is not None:
            file: Any = self.local.file
            file.death = death


class ReplicaProcess(BrokerProcess):
    """One process of a candidate."""

    broker: Replica
    store: Any
    log: MemoryLog

    @property
    def owns(self) -> bool:
        return self.serving and self.store.owns

    @property
    def position(self) -> int:
        return int(self.store.candidate.position.position)

    @property
    def settled(self) -> bool:
        """All that its state has is in the log, and all that it has read of the log is in its state."""
        context = self.dispatcher.context if self.dispatcher is not None else None
        ready = self.dispatcher is not None and self.dispatcher.state in (BrokerState.READY, BrokerState.STANDBY)
        return ready and self.store.candidate.settled and context is not None and not context.records

    def _open(self) -> DyingReplica:
        broker, rng = self.broker, self.broker.world.rng
        group = broker.group
        self.log = MemoryLog(group.shared, self.task.wake)
        self.log.fileno = next(descriptors)
        who = Identity(
            genesis=group.genesis,
            log_id=LOG_ID,
            name=broker.name,
            others=tuple(each.name for each in broker.map.candidates(broker.id) if each.name != broker.name),
            nonce=lambda: rng.randbytes(8),
            clock=lambda: broker.machine.boottime() / 1e9,
            wall_ms=lambda: broker.machine.wall() // 1_000_000,
        )
        return DyingReplica(self.log, broker.disk.open_file(group.genesis), who, group.limits)

    def _new_clock(self, start: Mark) -> SystemClock:
        return SystemClock(start, self.broker.machine)

    def _around(self) -> Process:
        return Process(-1, lambda: None, new_life=self._new_life)

    def _new_life(self, mark: Mark) -> int:
        """It takes over."""
        clock: Any = self.clock
        clock.restart(mark)
        broker, now = self.broker, clock.now()
        if now.mono < mark.mono or now.time < mark.time:
            broker.world.fail(f"the clocks of {broker.id} go back when {broker.name} takes over")
        broker.world.note("owns", broker.name, self.store.candidate.position.term)
        ahead = now.time - broker.boottime_ms(broker.world.now)
        broker.group.lives.append((broker.world.now, broker, ahead))
        return broker.world.rng.getrandbits(62) + 1

    def _failed(self, error: StoreError) -> None:
        super()._failed(error)
        with suppress(StoreError):
            self.store.close()
        if isinstance(error, DeposedError) or "the disk fails" in str(error) or "stopped while" in str(error):
            return
        self.broker.world.fail(f"{self.broker.name} stops: {error}")


class Replica(Broker):
    """What stays of a candidate: its disk and its machine."""

    process_type = ReplicaProcess
    process: ReplicaProcess

    def __init__(
        self, group: Group, network: Network, address: BrokerAddress, cluster_map: ClusterMap, *, moves: bool
    ) -> None:
        self.group, world = group, group.world
        start = world.rng.uniform(1.0, 1e5)

        def boottime() -> int:
            return int((start + world.now * self.rate) * 1e9)

        def wall() -> int:
            return (EPOCH + self.wall) * 1_000_000 + int(world.now * self.rate * 1e9)

        self._start_s = start
        self.machine = Machine(boottime, boottime, wall, f"boot of {address.name}")
        owner = Owner(cluster_map.name, address.id)
        super().__init__(world, network, address, cluster_map, LocalDisk(world.rng, owner), moves=moves)

    def boottime_ms(self, moment: float) -> int:
        return int((self._start_s + moment * self.rate) * 1000)

    def ended(self, process: BrokerProcess) -> None:
        assert isinstance(process, ReplicaProcess)
        process.log.close()
        store: Any = process.store
        if store is not None:
            store.store = store.local.file
        super().ended(process)


class Group:
    """The candidates of one broker, and their log."""

    def __init__(
        self, world: World, network: Network, broker_id: str, cluster_map: ClusterMap, *, moves: bool = False
    ) -> None:
        rng = world.rng
        self.world = world
        self.id = broker_id
        self.shared = SharedLog(world, ROOMY)
        self.lives: list[tuple[float, Replica, int]] = []
        """Owners: since when, and how many milliseconds the broker's time was ahead of that since its boot."""
        ids = ",".join(each.id for each in cluster_map.brokers)
        self.genesis = Genesis(cluster_map.name, broker_id, f"{rng.getrandbits(32):08x}", ids)
        entry = Entry(1, Kind.GENESIS, LOG_ID, 0, 0, Clocks(), NO_CHAIN, say(self.genesis))
        self.shared.commit(encode_entry(entry, NO_CHAIN), 0)
        self.limits = ReplicaLimits(
            entry_bytes=rng.choice((20_000, 2**20)),
            flush_s=rng.choice((0.0, 0.02, 0.1)),
            idle_flush_s=0.5,
            report_s=0.3,
            inspect_s=0.5,
            purge_s=0.5,
            digest_s=rng.choice((0.0, 0.2)),
            space=SpaceThresholds(keep_s=0.2, prompt=0, sampled_s=0.1),
            log=rng.choice((AS_IT_IS, FAST, FAST)),
        )
        self.shared.timeout = self.limits.log.answer_s
        candidates = cluster_map.candidates(broker_id)
        self.places = [Replica(self, network, each, cluster_map, moves=moves) for each in candidates]
        world.after(COMPARED, self._look)

    def owner(self) -> Replica:
        """The candidate that owns the log, or has owned it last."""
        owners = [each for each in self.places if each.process.owns]
        newest = max(owners, key=lambda each: each.process.store.candidate.position.term, default=None)
        return newest or (self.lives[-1][1] if self.lives else self.places[0])

    def time_at(self, moment: float) -> int:
        """The broker's time at a moment of the world."""
        _, place, ahead = [each for each in self.lives if each[0] <= moment][-1]
        return ahead + place.boottime_ms(moment)

    def in_step(self) -> bool:
        """All candidates have read the same, and none has more than the log."""
        processes = [each.process for each in self.places]
        if any(each.task.ended or each.store is None or not each.settled for each in processes):
            return False
        return any(each.owns for each in processes) and {each.position for each in processes} == {self.shared.last}

    def _look(self) -> None:
        """Compare the states in the middle of the run, where something is waiting in them."""
        self.world.after(COMPARED, self._look)
        if self.in_step():
            self._check(self._states())

    def _states(self) -> dict[str, dict[str, Any]]:
        return {each.name: snapshot(each.process.state) for each in self.places if each.process.state is not None}

    def compare(self) -> None:
        """The state of a standby is that of the owner, and both are what their files lead to."""
        found = self._states()
        for place in self.places:
            place.process.store.close()
            file: Any = place.disk.open_file(self.genesis)
            found[f"the file of {place.name}"] = snapshot(loaded(file))
            file.close()
        self._check(found)

    def _check(self, found: dict[str, dict[str, Any]]) -> None:
        first, *others = found
        for each in others:
            if found[each] != found[first]:
                self.world.fail(f"{each} differs from {first}:\n{found[each]}\n{found[first]}")
