"""Clients that read: by plain takes, by a cursor, or under leases; one or many at a time, at once or in a long poll."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from common.protocol import ops
from common.protocol.ops import Op
from tests.e2e.history import Ack, Mode, Outcome, Subscribe, Take, Unsubscribe
from tests.simulation.clients import Client, outcome_of
from tests.simulation.fronts import Answer
from tests.support.driver import bodies_of

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster

SECOND = 1_000_000
"""In microseconds."""
BAD = 0.1
"""How often a reader forgets what it got, gives it back, takes too long, or asks again with an old cursor."""
LONG_POLLS = 0.5
"""How often a read waits for a message."""
STREAMS = 0.5
"""How often a read by a cursor is none of a stream."""
LEAVES = 0.06
"""How often a reader that comes and goes unsubscribes."""


@dataclass
class Mailbox:
    """A user of a topic; several workers may share it. Each subscription of it has a name of its own in the history."""

    topic: str
    user: str
    mode: Mode
    comes_and_goes: bool = False
    life: int = 0
    """Of the present subscription, or of the one that is being made."""
    subscribed: bool = False
    since: float = 0.0
    """When it was made."""
    lives: list[tuple[float, str]] = field(default_factory=list)
    """When each subscription was made, and its name."""
    cursor: str = "0"
    max_deliveries: int = 0
    """Of leases: deliveries after which a message is a dead letter."""

    @property
    def name(self) -> str:
        return f"{self.user}#{self.life}"

    def name_at(self, moment: float) -> str:
        """Of the subscription that there was then: a worker may not know yet that another one has made a new one."""
        return [name for since, name in self.lives if since <= moment][-1]


class Got(NamedTuple):
    """One message that was delivered."""

    id: str
    seq: int
    attempt: int
    body: bytes
    time: int


def messages_of(result: Any) -> list[Got]:
    """What an answer has of messages."""
    if isinstance(result, ops.Message):
        msg_id = f"{result.epoch}-{result.seq}"
        return [Got(msg_id, result.seq, result.attempt, result.body, result.time)]
    found = []
    for run in result.runs if result is not None else ():
        bodies = bodies_of(ops.Batch(result.epoch, 0, [run]))
        for n, body in enumerate(bodies):
            seq = run.first + n
            found.append(Got(f"{result.epoch}-{seq}", seq, run.attempt, body, run.time))
    return found


class Reader(Client):
    """One worker of a mailbox."""

    def __init__(self, cluster: Cluster, name: str, box: Mailbox, first: bool) -> None:
        """The first worker of a mailbox subscribes."""
        self.box = box
        self.topic, self.user = box.topic.encode(), box.user.encode()
        self._first = first
        super().__init__(cluster, name)

    def run(self) -> None:
        if self._first:
            self.pause(0.3)
            self._subscribe()
        while True:
            while not self.box.subscribed:
                self.pause(0.1)
            if self.box.comes_and_goes and not self.cluster.healed and self.rng.random() < LEAVES:
                self._leave()
                self._subscribe()
            ending = self.cluster.nothing_more_comes()
            nothing = self._read(LONG_POLLS if not ending else LONG_POLLS / 5)
            if nothing and ending and self._nothing_is_left():
                break

    def _subscribe(self) -> None:
        box = self.box
        box.life += 1
        box.subscribed, box.cursor = False, "0"
        note = Subscribe(self.name, box.topic, self.world.now, user=box.name)
        self.cluster.history.add(note)
        settings = ops.Settings(max_deliveries=box.max_deliveries or None)
        unknown = False
        while (answer := self.ask(Op.SUBSCRIBE, self.topic, self.user, settings)).code:
            unknown |= outcome_of(answer.code) is Outcome.UNKNOWN
            self.pause(0.2)
            self.settle()
        if not answer.result.created and not unknown:
            self.world.fail(f"{self.name} was subscribed to {box.topic} after it had unsubscribed")
        box.since, box.subscribed = answer.at or 0.0, True
        box.lives.append((box.since, box.name))
        note.done, note.outcome = self.world.now, Outcome.OK

    def _leave(self) -> None:
        self.settle()  # nothing of what was asked for may meet the next subscription
        box = self.box
        note = Unsubscribe(self.name, box.topic, self.world.now, user=box.name)
        self.cluster.history.add(note)
        unknown = False
        while code := self.ask(Op.UNSUBSCRIBE, self.topic, self.user).code:
            if code == "no-subscription":
                if not unknown:
                    self.cluster.check_forgotten(box, self.name)
                break
            unknown |= outcome_of(code) is Outcome.UNKNOWN
            self.pause(0.2)
            self.settle()
        note.done, note.outcome = self.world.now, Outcome.OK

    def _read(self, long_polls: float) -> bool:
        """Reads once, or sleeps; whether the broker looked, and there was nothing."""
        box = self.box
        most, one_run = self.rng.choice(((1, False), (1, False), (4, False), (20, False), (6, True)))
        one_run &= box.mode is not Mode.LEASE
        lease = int(self.rng.uniform(0.2, 1.0) * SECOND) if box.mode is Mode.LEASE else 0
        epoch, _, seq = box.cursor.rpartition("-")
        where = (box.mode is Mode.AFTER, epoch, int(seq))
        args = ops.Take(*where, lease) if most == 1 else ops.Fetch(*where, most, 2**20, one_run, lease)
        wait = self.rng.uniform(0.1, 1.5) if self.rng.random() < long_polls else 0.0
        name, invoked = box.name, self.world.now
        note = {"user": name, "mode": box.mode, "cursor": box.cursor, "most": most}
        answer = self._ask_to_read(args, wait)
        at = invoked if answer.at is None else answer.at  # the order in which the broker served it
        got = messages_of(answer.result)
        outcome = outcome_of(answer.code)
        shown: list[Got | None] = [*got] or [None]
        for each in shown:
            take = Take(self.name, box.topic, at, self.world.now, outcome, **note)  # type: ignore[arg-type]
            if each is not None:
                take.body, take.msg_id, take.attempt = each.body, each.id, each.attempt
                if not one_run:  # whose time is that of its first message
                    self.cluster.check_age(box.topic, each.body, each.time, at)
            self.cluster.history.add(take)
            if answer.at is not None:
                self.cluster.served.append((take, box, answer.at))
        if answer.code == "no-subscription":
            self._forgotten(name)
        elif got:
            self._have(got, at)
        if not got:
            self.pause(self.cluster.pace)
        return not got and not answer.code and answer.at is not None and name == box.name

    def _ask_to_read(self, args: ops.Take | ops.Fetch, wait: float) -> Answer:
        return self.ask(Op.TAKE if isinstance(args, ops.Take) else Op.FETCH, self.topic, self.user, args, wait)

    def _forgotten(self, name: str) -> None:
        """A memory broker has lost its memory: all begins anew."""
        box = self.box
        if name != box.name:
            return
        self.cluster.check_forgotten(box, self.name)
        gone = Unsubscribe(self.name, box.topic, self.world.now, self.world.now, Outcome.OK, box.name)
        self.cluster.history.add(gone)
        self._subscribe()

    def _have(self, got: list[Got], at: float) -> None:
        """What is done with a delivery at this moment."""

    def _nothing_is_left(self) -> bool:
        return True

    def _behaves_badly(self) -> bool:
        return not self.cluster.healed and self.rng.random() < BAD


class AfterReader(Reader):
    """By a cursor, which it forgets to move on now and then; or as a stream, whose place is behind the cursor."""

    def _ask_to_read(self, args: ops.Take | ops.Fetch, wait: float) -> Answer:
        """As a stream does: open it, which confirms, and then read ahead without confirming."""
        if wait or self.rng.random() < STREAMS:
            return super()._ask_to_read(args, wait)
        opened = self.ask(Op.STREAM, self.topic, self.user, ops.OpenStream(True, args.epoch, args.seq))
        if opened.code:
            return opened
        epoch, place = opened.result.epoch, opened.result.position
        most = args.max if isinstance(args, ops.Fetch) else 1
        ahead = ops.Fetch(False, epoch, 0, most, 2**20, isinstance(args, ops.Fetch) and args.one_run, place=place)
        answer = self.ask(Op.FETCH, self.topic, self.user, ahead)
        if answer.result is not None and not answer.result.runs:
            answer = answer._replace(result=None)
        return answer

    def _have(self, got: list[Got], at: float) -> None:
        if not self._behaves_badly():
            self.box.cursor = got[-1].id


class LeaseReader(Reader):
    """Leases and acknowledges: also late, after an extension, all together or one by one; or dies, or gives back."""

    def _have(self, got: list[Got], at: float) -> None:
        if self._behaves_badly():  # a worker that dies, and another one that takes its place
            self.pause(0.5)
            return
        if self._behaves_badly():
            again = ops.Extend(self._receipt(got.pop()), 0, int(self.rng.choice((0.0, 0.3)) * SECOND))
            self.ask(Op.EXTEND, self.topic, self.user, again)
        if got and self._behaves_badly():
            longer = ops.Extend(self._receipt(got[0]), int(self.rng.uniform(0.2, 1.0) * SECOND))
            self.ask(Op.EXTEND, self.topic, self.user, longer)
        if self._behaves_badly():
            self.pause(1.5)
        if self.rng.random() < 0.5:
            self._acknowledge(got, at)
        else:
            for each in got:
                self._acknowledge([each], at)

    def _receipt(self, got: Got) -> ops.Receipt:
        return ops.Receipt(got.id.rpartition("-")[0], got.seq, got.attempt)

    def _acknowledge(self, got: list[Got], at: float) -> None:
        if not got:
            return
        note = Ack(self.name, self.box.topic, self.world.now, tried=tuple(each.id for each in got))
        self.cluster.history.add(note)
        self.cluster.served.append((note, self.box, at))
        answer = self.ask(Op.FINISH, self.topic, self.user, ops.Finish([self._receipt(each) for each in got]))
        note.done, note.outcome = self.world.now, outcome_of(answer.code)
        if answer.code == "no-subscription":
            note.tried = ()
        elif not answer.code:
            results = zip(got, answer.result.codes, strict=True)
            note.tried = note.confirmed = tuple(each.id for each, code in results if not code)

    def _nothing_is_left(self) -> bool:
        """What was leased and forgotten comes back yet."""
        answer: Answer = self.ask(Op.LOOK, self.topic, self.user)
        if answer.code or answer.result.pending or answer.result.leased:
            return False
        if self.cluster.awaits_redelivery(self.box):  # what was given back with a delay is neither
            return False
        return answer.result.dead == 0 or self._keep_dead()

    def _keep_dead(self) -> bool:
        """Notes what was delivered too often, and whether that could be detected."""
        answer = self.ask(Op.DEAD_LIST, self.topic, self.user, ops.ListDead(0, 1000, 2**20))
        if answer.code:
            return False
        letters: list[ops.DeadLetter] = answer.result.letters
        if answer.result.left or any(each.attempt != self.box.max_deliveries for each in letters):
            self.world.fail(f"{self.name} is shown {answer.result}")
        self.cluster.dead[self.box.topic, self.box.name] = [each.body for each in letters]
        return True


READERS = {Mode.PLAIN: Reader, Mode.AFTER: AfterReader, Mode.LEASE: LeaseReader}
