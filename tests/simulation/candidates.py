"""Candidates of one log in virtual time, without brokers: their state is a list of values, and all of it is checked.

What is tested is who may write, what counts, and what may be answered. `tests/simulation/cluster.py` has whole brokers.
"""

from __future__ import annotations

from random import Random

from broker.errors import DeposedError, ReplicaError
from broker.records import SubscriptionEnded
from broker.replica import log as on
from broker.replica.batch import decode_batch, encode_batch
from broker.replica.candidate import Candidate, Me, Role
from broker.replica.entry import NO_CHAIN, Clocks, Entry, Genesis, Kind, encode_entry, say
from broker.replica.reader import START, LogReader, Position
from broker.replica.thresholds import DEFAULT
from common.clock import Mark
from tests.simulation.world import World
from tests.support.memory_log import MemoryLog, SharedLog

LOG_ID = b"log id 1"
FLUSH, REPORT, RESTART = 0.1, 1.0, 0.2
"""Seconds."""
BURST = 8


class Truth:
    """The log as one who misses nothing reads it, and what was promised on it."""

    def __init__(self, world: World, shared: SharedLog) -> None:
        self.world = world
        self.values: list[str] = []
        self.terms: dict[int, int] = {}
        """Of every entry that counts, by its number."""
        self.floor = 0
        """How many values somebody was told of."""
        self._reader = LogReader(LOG_ID)
        shared.on_append = self._appended

    def _appended(self, position: int, data: bytes) -> None:
        try:
            entry = self._reader.take(position, data)
        except ReplicaError as error:
            self.world.fail(f"the log contradicts itself: {error}")
            return
        if entry is not None:
            if entry.kind is not Kind.FENCE:
                self.terms[entry.number] = entry.term
            self.values += values_of(entry)


def values_of(entry: Entry) -> list[str]:
    """What an entry adds to the state."""
    if entry.kind is not Kind.BATCH:
        return []
    records = decode_batch(entry.payload).records
    return [each.topic.decode() for each in records if isinstance(each, SubscriptionEnded)]


class Call:
    """One request of a client: a value to be added, or "" to be told how many there are."""

    def __init__(self, client: Client, value: str) -> None:
        self.client = client
        self.value = value
        self.floor = client.cluster.truth.floor
        self.answer: int | None = None
        """The number of values, or the place of the value added."""

    def done(self, answer: int) -> None:
        """Executed: the client hears of it a little later."""
        self.answer = answer
        self.client.soon(lambda: self.client.answered(self))

    def refused(self) -> None:
        """Not executed."""
        if self.value:
            self.client.cluster.refused.add(self.value)
        self.client.soon(lambda: self.client.answered(self))


class NotingLog(MemoryLog):
    """Notes when its candidate was told of a new entry."""

    def __init__(self, shared: SharedLog, process: Process) -> None:
        super().__init__(shared, process.wake)
        self._process = process
        self._newest = 0
        self.heard_at = process.clock()

    def events(self) -> list[on.Event]:
        events = super().events()
        last = max((each.entries[-1][0] for each in events if isinstance(each, on.Entries)), default=0)
        if last > self._newest:
            self._newest, self.heard_at = last, self._process.clock()
        return events


class Process:
    """From its start to its end; `Host` is what stays."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.cluster, self.world = host.cluster, host.cluster.world
        self.log = NotingLog(self.cluster.shared, self)
        position, values = host.file
        self.values = list(values)
        """What this process has executed or applied."""
        self.settled = len(values)
        """How many of them count."""
        self.inbox: list[Call] = []
        self.begun: list[tuple[Call, int]] = []
        """Calls whose answers wait for the entry under way."""
        self.frozen_until = 0.0
        self.ended = False
        self.releases: str | None = None
        self.flushed: dict[str, int] = {}
        """What the candidates have reported."""
        self._next_flush = self._next_report = 0.0
        self._wakes_at = 2.0**60
        me = Me(host.name, LOG_ID, lambda: self.world.rng.randbytes(8), self.clock, lambda: True)
        self.candidate = Candidate(self.log, me, position, self.cluster.thresholds)
        self.world.note("starts", host.name, position.position)
        self.wake()

    def clock(self) -> float:
        return self.world.now * self.host.rate + self.host.ahead

    def wake(self, seconds: float = 0.0) -> None:
        """Continue after this time, or sooner."""
        at = max(self.world.now + seconds, self.frozen_until)
        if at < self._wakes_at and not self.ended:
            self._wakes_at = at
            self.world.after(at - self.world.now, lambda: self._go_on(at))

    def end(self, why: str) -> None:
        """The process is gone; what it had begun is answered to nobody."""
        self.world.note("ends", self.host.name, why)
        self.ended = True
        self.log.close()
        self.host.ended()

    def _go_on(self, at: float) -> None:
        if self.ended or at != self._wakes_at:
            return
        if self.world.now < self.frozen_until:
            self._wakes_at = 2.0**60
            self.wake(self.frozen_until - self.world.now)
            return
        self._wakes_at = 2.0**60
        try:
            self.turn()
        except DeposedError as error:
            self._flush()
            self.end(str(error))
        except Exception as error:
            self.world.fail(f"{self.host.name} stops: {error!r}")
        else:
            if self.candidate.role is Role.ENDED:
                self.end("released")
            self.wake(self.candidate.wait_s / self.host.rate + 1e-6)

    def turn(self) -> None:
        """One turn of the loop."""
        candidate = self.candidate
        was = candidate.role
        for entry in candidate.turn():
            self.values += values_of(entry)
            self.settled = len(self.values)
        if was is not Role.FENCING and candidate.role is Role.FENCING:
            self._check_silence()
        if candidate.role is not was:
            self.world.note(self.host.name, candidate.role.value, candidate.position.term)
        if candidate.settled:
            self._settle()
        if self.clock() >= self._next_flush:
            self._flush()
        self._serve()
        self._report()

    def _settle(self) -> None:
        """All that was begun counts: answer it."""
        self.settled = len(self.values)
        for call, answer in self.begun:
            self._check_answer(call, answer)
            call.done(answer)
        self.begun = []

    def _flush(self) -> None:
        """Write the file, at any time: what is under way is not in it."""
        self._check_values()
        self.host.file = self.candidate.position, self.values[: self.settled]
        self._next_flush = self.clock() + FLUSH

    def _serve(self) -> None:
        candidate, mark = self.candidate, Mark(int(self.clock() * 1e6), 0, "", 0)
        if candidate.role is not Role.OWNER or candidate.under_way_s >= 1.0:
            for call in self.inbox:
                call.refused()
            self.inbox = []
        elif candidate.settled and self.releases is not None:
            candidate.release(self.releases, mark)
        elif candidate.settled and self.inbox:
            calls, self.inbox = self.inbox[:BURST], self.inbox[BURST:]
            new = [each.value for each in calls if each.value]
            for call in calls:
                self.values += [call.value] if call.value else []
                self.begun.append((call, len(self.values)))
            self._begin(new, mark)
        elif candidate.heartbeat_due:
            candidate.append(b"", mark)

    def _begin(self, new: list[str], mark: Mark) -> None:
        self.candidate.append(encode_batch(SubscriptionEnded(each.encode(), b"") for each in new), mark)

    def _report(self) -> None:
        """Tell how far the file is; an owner purges what every file has."""
        for each in self.candidate.notices:
            if isinstance(each, on.Reported):
                name, _, position = each.data.partition(b" ")
                self.flushed[name.decode()] = int(position)
        self.candidate.notices.clear()
        if self.clock() < self._next_report:
            return
        self._next_report = self.clock() + REPORT
        self.flushed[self.host.name] = self.host.file[0].position
        self.log.report(f"{self.host.name} {self.flushed[self.host.name]}".encode())
        if self.candidate.role is Role.OWNER and self.clock() - self.candidate.heard_at < 1.0:
            self.log.purge(self._purgeable())

    def _purgeable(self) -> int:
        """The position below which every file has everything."""
        return min(self.flushed.get(each.name, 0) for each in self.cluster.hosts)

    def _check_silence(self) -> None:
        at = self.candidate.position
        quiet = self.clock() - self.log.heard_at
        if at.term > 0 and not at.released and quiet < self.cluster.thresholds.silence_s - 1e-6:
            self.world.fail(f"{self.host.name} takes over {quiet} s after it has heard of an entry")

    def _check_values(self) -> None:
        if self.values[: self.settled] != self.cluster.truth.values[: self.settled]:
            self.world.fail(f"{self.host.name} has a state that the log does not have")

    def _check_answer(self, call: Call, answer: int) -> None:
        """An answer rests on an entry that counts, of this owner's term."""
        at, truth = self.candidate.position, self.cluster.truth
        if truth.terms.get(at.number) != at.term or len(truth.values) < answer:
            self.world.fail(f"{self.host.name} answers on an entry of term {at.term} that does not count")
        if call.value and truth.values[answer - 1 : answer] != [call.value]:
            self.world.fail(f"{call.value} is not where {self.host.name} says")


class Host:
    """What stays of a candidate when its process ends."""

    def __init__(self, cluster: Candidates, name: str, rate: float) -> None:
        self.cluster = cluster
        self.name = name
        self.rate = rate
        """Of its clock; that of the world has 1."""
        self.ahead = cluster.world.rng.uniform(1.0, 1e6)
        self.file: tuple[Position, list[str]] = (START, [])
        """How far the log was read at the last flush, and the values then."""
        self.hung = False
        """Its process does nothing any more and is never killed."""
        self.process = Process(self)

    def ended(self) -> None:
        """Another process takes the place of the one that is gone."""
        self.cluster.world.after(RESTART, self._start)

    def _start(self) -> None:
        if self.process.ended:
            self.process = Process(self)


class Client:
    """Adds a value or asks for their number, again and again, at whichever candidate answers."""

    def __init__(self, cluster: Candidates, name: str) -> None:
        self.cluster, self.world, self.name = cluster, cluster.world, name
        self.asks: Host | None = None
        self.last: Call | None = None
        self.count = 0
        self.acknowledged_since_healing = 0
        self.soon(self._call)

    def soon(self, work: object) -> None:
        assert callable(work)
        self.world.after(self.world.rng.uniform(0.0, 0.004), work)

    def answered(self, call: Call) -> None:
        """The call was answered, maybe too late."""
        if call is self.last:
            self.last = None
            self._judge(call)
            self.world.after(self.world.rng.uniform(0.0, 0.4), self._call)

    def _call(self) -> None:
        if self.asks is None:
            self.asks = self.world.rng.choice(self.cluster.hosts)
        self.count += 1
        call = self.last = Call(self, f"{self.name}.{self.count}" if self.world.rng.random() < 0.6 else "")
        self.world.after(self.world.rng.uniform(1.0, 4.0), lambda: self._gives_up(call))
        process = self.asks.process
        if process.ended:
            call.refused()
            return
        process.inbox.append(call)
        process.wake(0.002)

    def _gives_up(self, call: Call) -> None:
        if call is self.last:
            self.last = self.asks = None
            self._call()

    def _judge(self, call: Call) -> None:
        if call.answer is None:
            self.asks = None
            return
        truth = self.cluster.truth
        if call.answer < call.floor:
            self.world.fail(f"{self.name} is told of {call.answer} values where {call.floor} were told before")
        truth.floor = max(truth.floor, call.answer)
        if call.value:
            self.cluster.acknowledged[call.value] = call.answer
            self.acknowledged_since_healing += self.cluster.healed


class Candidates:
    """One run: the log, its candidates, their clients."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rng = Random(f"{world.seed}/candidates")
        self.thresholds = DEFAULT._replace(turn_entries=self.rng.choice((1000, 3, 1)))
        self.shared = SharedLog(world)
        self.truth = Truth(world, self.shared)
        self.acknowledged: dict[str, int] = {}
        """Values, and their places."""
        self.refused: set[str] = set()
        self.healed = False
        genesis = Entry(1, Kind.GENESIS, LOG_ID, 0, 0, Clocks(), NO_CHAIN, say(Genesis("simulated", "b0", "id", "b0")))
        self.shared.commit(encode_entry(genesis, NO_CHAIN), 0)
        self.hosts: list[Host] = []
        for n in range(self.rng.choice((2, 2, 3))):
            self.hosts.append(Host(self, f"b0@h{n}", self.rng.uniform(0.8, 1.2)))
        self.clients = [Client(self, f"c{n}") for n in range(2)]

    @property
    def owner(self) -> Host | None:
        """A host whose process takes itself for the owner, if there is one."""
        return next((each for each in self.hosts if each.process.candidate.role is Role.OWNER), None)

    def is_done(self) -> bool:
        """All clients are served again after the last fault, and every candidate has followed."""
        served = self.healed and all(each.acknowledged_since_healing >= 2 for each in self.clients)
        return served and all(each.hung or len(each.process.values) >= len(self.truth.values) for each in self.hosts)

    def judge(self) -> None:
        """What contradicts the promises, when all is over."""
        places = {value: place for place, value in enumerate(self.truth.values, 1)}
        if len(places) < len(self.truth.values):
            self.world.fail("a value is in the log twice")
        for value, place in self.acknowledged.items():
            if places.get(value) != place:
                self.world.fail(f"{value} was acknowledged at {place} and is at {places.get(value)}")
        for value in self.refused & set(places):
            self.world.fail(f"{value} was refused and is in the log")
        for host in self.hosts:
            host.process._check_values()
