"""A cluster with its clients, all of it drawn from the seed, and what must hold of it."""

from __future__ import annotations

from functools import lru_cache
from random import Random

from broker.store.base import Owner
from common.cluster.slots import BrokerAddress, ClusterMap, slot_of
from tests.e2e.checker import Aside, Key, violations
from tests.e2e.history import Ack, History, Mode, Take
from tests.simulation.brokers import Broker
from tests.simulation.disks import Disk, Kept, Memory, Sqlite
from tests.simulation.fronts import Front
from tests.simulation.network import Network
from tests.simulation.publishers import Publisher
from tests.simulation.readers import READERS, Mailbox, Reader
from tests.simulation.replicas import Group
from tests.simulation.session_publishers import SessionPublisher
from tests.simulation.slots import Slots
from tests.simulation.world import World

KINDS = (
    "single",
    "batch",
    "keyed-single",
    "keyed-batch",
    "delay-single",
    "keyed-delay-batch",
    "ttl-single",
    "ttl-batch",
)


ONE_TURN = 1e-6
"""Seconds within which a broker that dies between replies may have executed what it does not know any more."""


@lru_cache
def map_of(brokers: int, hosts: tuple[str, ...] = ("",)) -> ClusterMap:
    addresses = [BrokerAddress(f"b{n}", f"tcp://b{n}{h}:1", "", h) for n in range(brokers) for h in hosts]
    return ClusterMap("simulated", 1, addresses)


class Cluster:
    """Brokers, fronts, clients, and what they did."""

    def __init__(self, world: World, replicated: bool = False, moves: bool = False) -> None:
        """`replicated`: every broker has two candidates on a log. `moves`: slots move while all this happens."""
        self.world = world
        self.moves = moves
        self.history = History()
        self.ttls: dict[tuple[str, bytes], int] = {}
        """Milliseconds, by topic and body."""
        self.dead: dict[Key, list[bytes]] = {}
        """Dead letters of each subscription, in the end."""
        self.served: list[tuple[Take | Ack, Mailbox, float]] = []
        """Reads, and acknowledgements of what was read, each with the moment of the reading."""
        self.at_work = 0
        """Clients that have something to do yet."""
        self.healed = False
        """There are no more faults, and nobody behaves badly any more."""
        rng = self.rng = Random(f"{world.seed}/cluster")
        slowest = rng.choice((0.001, 0.005, 0.05))
        self.network = Network(world, lambda: world.rng.uniform(0.0001, slowest))
        self.timeout = rng.choice((0.5, 1.0, 2.0))
        self.pace = rng.choice((0.1, 0.3))
        self.map = map_of(rng.choice((2, 2, 3) if moves else (1, 2, 2, 3)))
        self.kind = rng.choice(("kept", "sqlite") if moves else ("memory", "kept", "sqlite"))
        self.restarts = self.kind != "memory" or rng.random() < 0.5
        """Whether brokers may end; without, a memory broker must lose nothing at all."""
        self.groups: dict[str, Group] = {}
        if replicated:
            number = 2 if moves else rng.choice((1, 1, 2))
            self.kind, self.restarts, self.map = "replicated", True, map_of(number, ("h0", "h1"))
            self.groups = {
                each.id: Group(world, self.network, each.id, self.map, moves=moves) for each in self.map.brokers
            }
        self.brokers: list[Broker] = [place for group in self.groups.values() for place in group.places]
        if not replicated:
            self.brokers += [
                Broker(world, self.network, each, self.map, self._disk(each.id), moves=moves)
                for each in self.map.brokers
            ]
        self.fronts = [
            Front(world, self.network, f"f{n}", self.map, self.timeout) for n in range(rng.choice((1, 2, 2, 3)))
        ]
        self.publishers: list[Publisher | SessionPublisher] = []
        self.readers: list[Reader] = []
        self.topics = [f"t{n}" for n in range(rng.randint(2, 3))]
        for topic in self.topics:
            self._populate(topic)
        self.slots = Slots(self) if moves else None

    def owner(self, topic: str) -> Broker:
        if self.slots is not None:
            return self.slots.owner(slot_of(topic.encode()))
        return self.place(self.map.owner(topic.encode()))

    def place(self, broker_id: str) -> Broker:
        """The one process of a broker, or the candidate that owns its log."""
        if self.groups:
            return self.groups[broker_id].owner()
        return next(each for each in self.brokers if each.id == broker_id)

    @property
    def forgets(self) -> bool:
        """Whether brokers may lose their memory, and the keys in it."""
        return self.kind == "memory" and self.restarts

    def nothing_more_comes(self) -> bool:
        """All is published, also what was to be published later."""
        if not self.healed or not all(each.task.ended for each in self.publishers):
            return False
        processes = [self.place(each.id).process for each in self.map.brokers]
        return all(each.serving and each.state and not each.state.delayed.publishes for each in processes)

    def awaits_redelivery(self, box: Mailbox) -> bool:
        """Whether there is a message that was delivered and will be again."""
        state = self.owner(box.topic).process.state
        topic = state.topics.get(box.topic.encode()) if state is not None else None
        delivery = topic.subscriptions[box.user.encode()].delivery if topic is not None else None
        return delivery is not None and bool(delivery.leases.held)

    def check_forgotten(self, box: Mailbox, client: str) -> None:
        """A broker knows nothing of a subscription: it must have had no disk, and have ended since."""
        deaths = self.owner(box.topic).deaths
        if self.kind != "memory" or not deaths or deaths[-1] + ONE_TURN < box.since:
            self.world.fail(f"{client} was told that {box.name} of {box.topic} has no subscription")

    def check_age(self, topic: str, body: bytes, time: int, at: float) -> None:
        """A message is not delivered after its ttl."""
        ttl = self.ttls.get((topic, body))
        process = self.owner(topic).process
        if ttl is None or self.moves:  # dates of a message are by the clock of the broker that had it then
            return
        if process.clock is None or process.state is None or process.state.calendar.steps:
            return  # where the clock was set for good, dates do not say how much time has passed
        group = self.groups.get(self.map.owner(topic.encode()))
        late = (group or process.clock).time_at(at) - time - ttl
        if late > 0:
            self.world.fail(f"{body[:40]!r} of {topic} was delivered {late} ms after its ttl")

    def in_step(self) -> bool:
        """Every standby has read what its owner has written, and no slot is on the move."""
        if self.slots is not None and not self.slots.at_rest():
            return False
        return all(each.in_step() for each in self.groups.values())

    def judge(self) -> None:
        """What contradicts the promises, when all is over."""
        for group in self.groups.values():
            group.compare()
        for broker in self.brokers:
            broker.process.check()
        for front in self.fronts:
            for process in front.processes:
                process.check()
        if self.slots is not None:
            self.slots.judge()
        for note, box, at in self.served:
            note.user = box.name_at(at)
        for found in violations(self.history, self.topics, Aside(queued=self.dead, expired=self.ttls)):
            self.world.fail(found)

    def close(self) -> None:
        for broker in self.brokers:
            broker.over = True
            broker.process.task.kill()
        for front in self.fronts:
            for process in front.processes:
                process.kill()
        for each in (*self.publishers, *self.readers):
            each.task.kill()
        for broker in self.brokers:
            broker.disk.close()

    def _disk(self, broker_id: str) -> Disk:
        if self.kind == "memory":
            return Memory(self.rng)
        if self.kind == "kept":
            return Kept(self.rng)
        return Sqlite(self.rng, Owner(self.map.name, broker_id))

    def _populate(self, topic: str) -> None:
        """Add users of every mode and a few publishers.

        Where messages expire no user reads by a cursor, which has no gaps; where all users may leave, and the topic
        begins anew, keys are not used.
        """
        rng = self.rng
        ttl, churn = rng.random() < 0.3, rng.random() < 0.4
        kinds = [each for each in KINDS if ("ttl" in each) <= ttl and ("keyed" in each) <= (not churn)]
        modes = [Mode.PLAIN, Mode.LEASE] if ttl else [Mode.PLAIN, Mode.AFTER, Mode.LEASE]
        for n in range(rng.randint(1, 3)):
            box = Mailbox(topic, f"u{n}", rng.choice(modes), comes_and_goes=churn and rng.random() < 0.7)
            if box.mode is Mode.LEASE:
                box.max_deliveries = rng.choice((0, 0, 1, 2, 3))
            workers = 1 if box.comes_and_goes or box.mode is Mode.AFTER else rng.choice((1, 1, 2, 3))
            for k in range(workers):
                self.readers.append(READERS[box.mode](self, f"{topic}/u{n}.{k}", box, first=k == 0))
        for n in range(rng.randint(1, 2)):
            chosen = rng.sample(kinds, min(len(kinds), 3))
            self.publishers.append(Publisher(self, f"{topic}/p{n}", topic, chosen, rng.randint(4, 10)))
        if self.moves:
            self.publishers.append(SessionPublisher(self, f"{topic}/s", topic, rng.randint(4, 10)))
