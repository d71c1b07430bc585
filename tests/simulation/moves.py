"""Slots move between the real cores of brokers over links that lose and delay, while brokers die at their commits.

There are no sockets and no loops: what the loop does in a turn is done here, in the order that the seed draws. Clients
publish to topics of a few slots, and read with `after`. At every moment a slot is served in one place at the most; in
the end it is in exactly one, and every message that was acknowledged is there once, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from broker.dispatch.links import Question
from broker.dispatch.moves import SILENT_US, Moves
from common.clock import ManualClock
from common.cluster.slots import BrokerAddress, ClusterMap, slot_of
from common.errors import FanmailError
from common.protocol import move_ops as mv
from common.protocol import ops
from common.protocol.ops import Op
from tests.support.driver import IDENTITY, ROOMY, Answer, Asked, BrokerDriver
from tests.support.mirror import MirrorStore
from tests.support.tiny import TINY

IDS = ("b0", "b1", "b2")
TOPICS = tuple(b"topic %d" % number for number in range(4))
SLOTS_USED = tuple(sorted({slot_of(topic) for topic in TOPICS}))
USERS = (b"u", b"v")
STEPS, TROUBLE = 500, 400
"""Steps of a run, and the last one in which anything breaks."""
SETTLE = 3000
"""Steps after which everything must have come to rest."""
MAP = ClusterMap("fanmail", 1, [BrokerAddress(each, f"ipc:///{each}") for each in IDS])


class Died(Exception):
    """A broker was killed at its commit."""


class Node:
    """A broker: its store, and its present process."""

    def __init__(self, world: World, broker: str) -> None:
        self.world, self.id = world, broker
        self.store = MirrorStore(f"0badcaf{broker[-1]}", lazy=True)
        self.clock = ManualClock(world.rng.randrange(10**6, 10**9))
        self.life = 0
        self.thresholds = TINY._replace(
            part_bytes=2**20,
            part_records=world.rng.choice((1, 3, 1000)),
            copied_bytes=2**20,
            copied_records=world.rng.choice((3, 1000, 1000)),
        )
        self.down = 0
        """Steps until its next process starts."""
        self.start()

    def start(self) -> None:
        self.life += 1
        identity = IDENTITY._replace(broker=self.id)
        self.driver = BrokerDriver(ROOMY, self.store, self.clock, MAP, identity, thresholds=self.thresholds)
        self.moves = Moves(self.driver.dispatcher, Links(self.world, self))  # type: ignore[arg-type]
        self.moves.begin(self.clock.now())
        self.commit()

    def turn(self) -> None:
        """What the loop does: scheduled work, moves, commit."""
        self.driver.run_due()
        self.moves.turn(self.clock.now())
        self.commit()

    def execute(self, op: Op, topic: bytes, user: bytes, args: Struct) -> Answer:
        """Raise `Died` where it is killed before it answers."""
        answer = self.driver.send(Asked(op, topic, user, args))[0]
        self.commit()
        return answer

    def commit(self) -> None:
        trouble = self.world.trouble and self.world.rng.random() < 0.01
        if trouble and self.world.rng.random() < 0.5:
            self.kill()
            raise Died
        self.driver.commit()
        self.world.check(self)
        if trouble:
            self.kill()
            raise Died

    def kill(self) -> None:
        self.down = self.world.rng.randrange(1, 40)
        self.life += 1
        self.world.note(self.id, "is killed")
        self.world.lose(self)


class Links:
    """Implements `broker.dispatch.links.Links`."""

    def __init__(self, world: World, source: Node) -> None:
        self._world, self._source, self._life = world, source, source.life

    def to(self, broker: str) -> Link | None:
        target = self._world.nodes.get(broker)
        return None if target is None else Link(self._world, self._source, target)


class Link:
    """Implements `broker.dispatch.links.Link`."""

    def __init__(self, world: World, source: Node, target: Node) -> None:
        self._world, self._source, self._target = world, source, target

    @property
    def up(self) -> bool:
        return not self._target.down

    answers = up

    def ask(self, op: Op, args: Struct, body: bytes | None = None) -> Question:
        question = Question()
        if self._target.down:
            question.done, question.error = True, FanmailError("broker-down")
            return question
        if isinstance(args, mv.Adopt):
            args = replace(args, body=body or b"")
        self._world.under_way.append(Message(self._source, self._target, op, args, question))
        return question


class Message:
    """A request between brokers."""

    def __init__(self, source: Node, target: Node, op: Op, args: Struct, question: Question) -> None:
        self.source, self.target, self.op, self.args, self.question = source, target, op, args, question
        self.lives = (source.life, target.life)

    def lost(self) -> None:
        if not self.question.done:
            self.question.done, self.question.error = True, FanmailError("outcome-unknown")


class World:
    """All brokers, their clients, and what was promised."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.trouble = False
        self.lines: deque[str] = deque(maxlen=200)
        self.found: list[str] = []
        self.under_way: list[Message] = []
        self.late: list[Message] = []
        """Requests whose senders have given up, and which come nevertheless."""
        self.nodes: dict[str, Node] = {}
        for each in IDS:
            self.nodes[each] = Node(self, each)
        self.quiet()
        self.sent: dict[bytes, list[tuple[bytes, bool]]] = {topic: [] for topic in TOPICS}
        """Bodies in order, and whether they were acknowledged."""
        self.got: dict[tuple[bytes, bytes], list[bytes]] = {(t, u): [] for t in TOPICS for u in USERS}
        self.cursor: dict[tuple[bytes, bytes], str] = {}
        self.moved = 0
        for topic in TOPICS:
            for user in USERS:
                assert self.ask(Op.SUBSCRIBE, topic, user, ops.Settings()).code == ""

    def note(self, *what: Any) -> None:
        self.lines.append(" ".join(map(str, what)))

    def run(self) -> None:
        for number in range(STEPS):
            self.trouble = number < TROUBLE
            self.step()
        self.trouble = False
        self.quiet()
        for node in self.nodes.values():  # a source that was killed while it copied a slot has forgotten it
            node.clock.advance(SILENT_US / 1e6 + 1)
        self.quiet()
        self.finish()

    def step(self) -> None:
        do: Callable[[], object] = self.rng.choices(
            (self.turn, self.deliver, self.publish, self.read, self.move, self.abort, self.kill, self.elapse),
            (8, 12, 3, 3, 2, 0.2, 0.3 * self.trouble, 1),
        )[0]
        for node in self.nodes.values():
            if node.down:
                node.down -= 1
                if not node.down:
                    self.note(node.id, "starts")
                    self.attempt(node.start)
        self.attempt(do)

    def attempt(self, do: Callable[[], object]) -> None:
        try:
            do()
        except Died:
            return

    def quiet(self) -> None:
        """Let everything come to rest."""
        for _ in range(SETTLE):
            for node in self.nodes.values():
                if node.down:
                    node.down -= 1
                    if not node.down:
                        node.start()
                else:
                    node.clock.advance(0.02)
                    node.turn()
            self.deliver()
            busy = any(node.down or node.moves.wait_ms is not None for node in self.nodes.values())
            if not busy and not self.under_way:
                return
        self.found.append("it does not come to rest")

    def turn(self) -> None:
        node = self.rng.choice([*self.nodes.values()])
        if not node.down:
            node.turn()

    def deliver(self) -> None:
        """Deliver a request, or lose it, or let its sender give up before it comes."""
        queue = self.late if self.late and self.rng.random() < 0.1 else self.under_way
        if not queue:
            return
        message = queue.pop(self.rng.randrange(len(queue)) if queue is self.late else 0)
        if message.target.down or message.lives[1] != message.target.life:
            message.lost()
            return
        if self.trouble and queue is self.under_way and self.rng.random() < 0.03:
            self.note("a sender gives up", message.op.name)
            message.lost()
            self.late.append(message)
            return
        try:
            answer = message.target.execute(message.op, b"", b"", message.args)
        except Died:
            message.lost()
            raise
        self.note(message.source.id, message.op.name, message.target.id, message.args, answer.code, answer.result)
        if message.question.done or message.lives[0] != message.source.life:
            return
        message.question.done, message.question.result = True, answer.result
        if answer.code:
            message.question.error = FanmailError(answer.code, answer.detail)

    def lose(self, node: Node) -> None:
        """End what was under way to a broker that was killed."""
        for message in [each for each in self.under_way if each.target is node]:
            self.under_way.remove(message)
            message.lost()

    def kill(self) -> None:
        node = self.rng.choice([*self.nodes.values()])
        if not node.down:
            node.kill()

    def elapse(self) -> None:
        for node in self.nodes.values():
            node.clock.advance(self.rng.choice((0.01, 0.2)))

    def move(self) -> None:
        node, slot = self.rng.choice([*self.nodes.values()]), self.rng.choice(SLOTS_USED)
        if node.down or slot not in node.driver.state.slots.epochs:
            return
        args = mv.MoveSlot(slot, self.rng.choice([each for each in IDS if each != node.id]))
        answer = node.execute(Op.MOVE, b"", b"", args)
        self.note("MOVE", node.id, args, answer.code, answer.detail)

    def abort(self) -> None:
        node = self.rng.choice([*self.nodes.values()])
        if not node.down and node.driver.state.slots.leaving:
            node.execute(Op.MOVE_ABORT, b"", b"", mv.AbortMove(min(node.driver.state.slots.leaving)))

    def ask(self, op: Op, topic: bytes, user: bytes, args: Struct) -> Answer:
        """Ask as a front does: all brokers, until one serves the slot. Raises `Died` where the outcome is unknown."""
        answer = Answer(0, "broker-down", None)
        for node in self.nodes.values():
            if not node.down:
                answer = node.execute(op, topic, user, args)
                if answer.code not in ("not-owner", "moving", "loading"):
                    return answer
        return answer

    def publish(self) -> None:
        topic = self.rng.choice(TOPICS)
        sent = self.sent[topic]
        body = b"%d" % len(sent)
        sent.append((body, False))
        if self.ask(Op.PUBLISH, topic, b"", ops.Publish(b"", body)).code == "":
            sent[-1] = (body, True)
        else:
            sent.pop()

    def read(self) -> None:
        key = (self.rng.choice(TOPICS), self.rng.choice(USERS))
        self.next_of(key)

    def next_of(self, key: tuple[bytes, bytes]) -> bool:
        epoch, _, seq = self.cursor.get(key, "-0").rpartition("-")
        answer = self.ask(Op.TAKE, *key, ops.Take(True, epoch, int(seq)))
        if answer.code not in ("", "not-owner", "moving", "loading", "broker-down"):
            self.found.append(f"{key} gets {answer}")
        if answer.result is None:
            return False
        self.cursor[key] = f"{answer.result.epoch}-{answer.result.seq}"
        self.got[key].append(answer.result.body)
        return True

    def check(self, node: Node) -> None:
        """Look at who serves after a commit."""
        for slot in SLOTS_USED:
            serving = [each.id for each in self.nodes.values() if not each.down and serves(each, slot)]
            if len(serving) > 1:
                self.found.append(f"slot {slot} is served by {serving}")

    def finish(self) -> None:
        """Look at what is left."""
        for slot in SLOTS_USED:
            owners = [each.id for each in self.nodes.values() if serves(each, slot)]
            if len(owners) != 1:
                self.found.append(f"slot {slot} is served by {owners}")
        for topic in TOPICS:
            places = [each.id for each in self.nodes.values() if topic in each.driver.state.topics]
            if len(places) != 1:
                self.found.append(f"{topic!r} is in {places}")
        if self.found:
            return
        self.moved = sum(
            sum(node.driver.state.slots.epochs.get(slot, 0) for node in self.nodes.values()) - 1 for slot in SLOTS_USED
        )
        for key, got in self.got.items():
            while self.next_of(key):
                pass
            sent = [body for body, known in self.sent[key[0]] if known or body in got]
            if got != sent:
                self.found.append(f"{key} has read {got}, and not {sent}")


def serves(node: Node, slot: int) -> bool:
    return node.driver.state.slots.known and node.driver.state.slots.served[slot] == 1


def simulate_moves(seed: int) -> World:
    """Play one seed."""
    world = World(seed)
    world.run()
    return world
