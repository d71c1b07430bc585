"""One user of the model: their messages, dead letters and calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker.state.delivery_state import DELIVERY_STATE_COST
from broker.state.leases import HELD_COST
from common.clock import Now
from common.protocol import ops
from tests.support.model_mail import DEAD, DELAYED, FRESH, LEASED, WAITING, Got, Item, Lost

if TYPE_CHECKING:
    from tests.support.model import Model
    from tests.support.model_topic import ModelTopic


@dataclass(slots=True, eq=False)
class ModelUser:
    """One subscription as http-api.md describes it."""

    model: Model
    topic: ModelTopic
    items: list[Item] = field(default_factory=list)
    """By number."""
    dead: list[Item] = field(default_factory=list)
    """In the order in which they became dead letters."""
    expires_after: int = 0
    max_deliveries: int = 0
    idle_from: int | None = None
    """None: the idle time begins when the broker looks at it."""

    def fresh(self) -> list[Item]:
        return [each for each in self.items if each.state == FRESH]

    def held(self) -> list[Item]:
        return [each for each in self.items if each.state != FRESH]

    def leased(self) -> int:
        return sum(each.state == LEASED for each in self.items)

    @property
    def position(self) -> int:
        return next((each.seq for each in self.items if each.state == FRESH), self.topic.next_seq)

    def pending(self, behind: int = 0) -> int:
        fresh = sum(each.seq > behind and not self.gone(each) for each in self.fresh())
        return fresh + sum(each.state == WAITING for each in self.items)

    def needs_from(self) -> int:
        """Return where the log must begin for this user, who stays at its head until they notice what was dropped."""
        not_done = (each.seq for each in self.items if not each.own)
        return max(self.topic.head, min(not_done, default=self.topic.next_seq))

    def gone(self, item: Item) -> bool:
        """Return whether the head of the log has passed a message."""
        return not item.own and item.seq < self.topic.head

    def configure(self, args: ops.Settings) -> ops.Nothing | str:
        settings = bool(args.expires_after or args.max_deliveries)
        if settings and not self.weight() and not self.model.has_memory(DELIVERY_STATE_COST):
            return "memory-full"
        if args.expires_after is not None:
            self.expires_after = args.expires_after
        if args.max_deliveries is not None:
            self.max_deliveries = args.max_deliveries
        return ops.Nothing()

    def take(self, ask: ops.Take, now: Now) -> ops.Message | Lost | str | None:
        got = self.read(ask, now)
        if not isinstance(got, Got):
            return got
        ((seq, time, headers, body, attempt),) = got.messages
        return ops.Message(got.epoch, seq, time, attempt, got.pending, headers, body)

    def read(self, ask: ops.Take | ops.Fetch, now: Now) -> Got | Lost | str | None:
        """Read as a GET does: plain, by cursor or under a lease. All messages of a run have the time of the first."""
        most, room, one_run = (ask.max, ask.max_bytes, ask.one_run) if isinstance(ask, ops.Fetch) else (1, 2**60, False)
        self.notice_gone()
        error = self.confirm(ask, now) if ask.after else None
        if error is not None:
            return error
        got: list[Item] = []
        more = ask.after or self.read_again(got, most, room, one_run, ask.lease, now)
        if more and len(got) < most and not (one_run and got):
            meta = 2**60 if one_run else room - sum(len(each.mail.headers) for each in got)
            room -= sum(4 + len(each.mail.body) for each in got)
            self.read_fresh(got, most, (room, meta), one_run, ask.lease, ask.after, now)
        if not got:
            nothing_to_give = not any(self.may_go_out(each, now) for each in self.items)
            return None if nothing_to_give else "too-many-leases"
        first, behind = got[0].mail, got[-1].seq if ask.after else 0
        shown = [
            (each.seq, first.time if one_run else each.mail.time, *each.mail[2:4], each.attempt or 1) for each in got
        ]
        return Got(self.topic.epoch, self.pending(behind), shown)

    def read_again(self, got: list[Item], most: int, room: int, one_run: bool, lease: int, now: Now) -> bool:
        """Redeliver messages, oldest first. Return false if more of them wait that do not fit."""
        meta = 2**60 if one_run else room
        while len(got) < most:
            self.put_away(now)
            item = next((each for each in self.items if each.state == WAITING), None)
            if item is None:
                return True
            room, meta = room - 4 - len(item.mail.body), meta - len(item.mail.headers)
            apart = got and (item.seq != got[-1].seq + 1 or item.mail.headers != got[0].mail.headers)
            if (got and (room < 0 or meta < 0 or (one_run and apart))) or (lease and not self.leases_left()):
                return False
            self.hand_out(item, lease, now)
            got.append(item)
        return False

    def read_fresh(
        self, got: list[Item], most: int, left: tuple[int, int], one_run: bool, lease: int, after: bool, now: Now
    ) -> None:
        """Deliver new messages in order, until one does not fit."""
        for item in self.fresh():
            if not self.gone(item) and not item.mail.expired(now):
                break
            self.model.counts["skipped.lost" if self.gone(item) else "skipped.ttl"] += 1
            self.items.remove(item)
        oldest = min((each.seq for each in self.held() if not each.own), default=self.position)
        beyond = oldest + self.model.limits.lease_window
        first_always = not got
        may_hold = self.model.room_to_hold(self.topic, HELD_COST)
        room, meta = left
        for item in self.fresh():
            room, meta = room - 4 - len(item.mail.body), meta - len(item.mail.headers)
            fits = (room >= 0 and meta >= 0) or (first_always and not got)
            stops = item.mail.expired(now) or (one_run and got and item.mail.headers != got[0].mail.headers)
            if (
                len(got) == most
                or not fits
                or stops
                or (lease and (not may_hold or not self.leases_left() or item.seq > beyond))
            ):
                return
            if not after:
                self.hand_out(item, lease, now)
            may_hold -= 1
            got.append(item)

    def hand_out(self, item: Item, lease: int, now: Now) -> None:
        if lease:
            item.state, item.until = LEASED, now.mono + lease
            item.attempt += 1
        else:
            item.attempt = 1
            self.items.remove(item)

    def confirm(self, ask: ops.Take | ops.Fetch, now: Now) -> Lost | str | None:
        """Acknowledge everything up to the cursor."""
        self.put_away(now)
        if self.held():
            return "leases-out"
        if ask.seq and (ask.epoch != self.topic.epoch or not 1 <= ask.seq < self.topic.next_seq):
            oldest = next((each.seq for each in self.items if not self.gone(each)), None)
            return Lost(oldest and f"{self.topic.epoch}-{oldest}")
        self.items = [each for each in self.items if each.seq > ask.seq]
        return None

    def look(self, now: Now) -> ops.Status:
        held = [each.seq for each in self.held() if each.state == WAITING and self.may_go_out(each, now)]
        fresh = [each.seq for each in self.fresh() if self.may_go_out(each, now)]
        seq = (held + fresh + [0])[0]
        return ops.Status(self.pending(), self.topic.epoch, seq, self.leased(), len(self.dead))

    def may_go_out(self, item: Item, now: Now) -> bool:
        too_often = 0 < self.max_deliveries <= item.deliveries
        away = self.gone(item) or item.mail.expired(now) or too_often
        return item.state in (FRESH, WAITING) and not away

    def put_away(self, now: Now) -> None:
        """Remove the message to redeliver next if it has expired or is a dead letter."""
        for item in [each for each in self.items if each.state == WAITING]:
            if self.may_go_out(item, now):
                return
            if item.mail.expired(now) and not item.own:
                self.model.counts["skipped.ttl"] += 1
                self.items.remove(item)
            else:
                self.bury(item)

    def notice_gone(self) -> None:
        """Acknowledge messages that were delivered and that the log has dropped since."""
        kept = [each for each in self.items if each.state == FRESH or not self.gone(each)]
        self.model.counts["skipped.lost"] += len(self.items) - len(kept)
        self.items = kept

    def leases_left(self) -> bool:
        return self.leased() < self.model.limits.leases

    def judge(self, receipt: ops.Receipt) -> str:
        """Return the error of a receipt, or "" if it is valid or its message is acknowledged."""
        if receipt.epoch != self.topic.epoch:
            return "lease-lost"
        if receipt.attempt < 1:
            return "bad-parameter"
        for item in self.held() + self.dead:
            if item.seq == receipt.seq and receipt.attempt > item.attempt:
                return "bad-parameter"
            if item.seq == receipt.seq and (receipt.attempt < item.attempt or item.put_back_at == item.attempt):
                return "lease-lost"
        return "" if 0 < receipt.seq < self.position else "bad-parameter"

    def finish(self, receipts: Sequence[ops.Receipt]) -> ops.Finished:
        """Acknowledge receipts, each as if it was the only one."""
        self.notice_gone()
        codes = []
        for receipt in receipts:
            codes.append(self.judge(receipt))
            if not codes[-1]:
                self.items = [each for each in self.items if each.seq != receipt.seq]
                self.dead = [each for each in self.dead if each.seq != receipt.seq]
        return ops.Finished(codes)

    def extend(self, ask: ops.Extend, now: Now) -> ops.Nothing | str:
        self.notice_gone()
        code = self.judge(ask.receipt)
        item = next((each for each in self.held() if each.seq == ask.receipt.seq), None)
        if code or item is None:
            return code or "lease-lost"
        if not ask.lease:
            self.give_back(item, now.mono + ask.delay if ask.delay else 0)
        elif item.state != LEASED and not self.leases_left():
            return "too-many-leases"
        else:
            item.state, item.until = LEASED, now.mono + ask.lease
        return ops.Nothing()

    def give_back(self, item: Item, until: int = 0) -> None:
        if 0 < self.max_deliveries <= item.deliveries:
            self.bury(item)
        else:
            item.state, item.until = DELAYED if until else WAITING, until

    def bury(self, item: Item) -> None:
        limits, counts = self.model.limits, self.model.counts
        counts["dead.letters"] += 1
        self.items.remove(item)
        item.state, item.until, item.put_back_at = DEAD, 0, 0
        self.dead.append(item)
        while self.dead and (len(self.dead) > limits.dead or self.dead_bytes() > limits.dead_bytes):
            counts["dropped.dead"] += 1
            del self.dead[0]
        self.model.drop_dead()

    def list_dead(self, ask: ops.ListDead, now: Now) -> ops.DeadLetters:
        behind = sorted((each for each in self.dead if each.seq > ask.after), key=lambda each: each.seq)
        shown: list[ops.DeadLetter] = []
        for each in behind:
            size = sum(len(letter.body) for letter in shown) + len(each.mail.body)
            if len(shown) == ask.max or (shown and size > ask.max_bytes):
                break
            _, time, headers, body, _ = each.mail
            shown.append(ops.DeadLetter(each.seq, time, each.attempt, headers, body, each.mail.expired(now)))
        return ops.DeadLetters(self.topic.epoch, len(behind) - len(shown), shown)

    def return_dead(self, now: Now) -> ops.Counted | str:
        """Put back as many dead letters as the topic has room for, oldest first."""
        good = [each for each in self.dead if not each.mail.expired(now)]
        room, back = self.model.room_to_hold(self.topic, 1), 0
        for each in good:
            room -= each.letter_weight() + HELD_COST
            if room < 0:
                break
            back += 1
        if good and not back:
            back = self.model.room_to_hold(self.topic, good[0].letter_weight() + HELD_COST)
            if not back:
                return "too-many-leases"
        returned = [Item(each.mail, WAITING, each.attempt, own=True, put_back_at=each.attempt) for each in good[:back]]
        self.items = sorted(self.items + returned, key=lambda each: each.seq)
        self.dead = [each for each in self.dead if each not in good[:back]]
        return ops.Counted(back)

    def clear_dead(self) -> ops.Counted:
        count, self.dead = len(self.dead), []
        return ops.Counted(count)

    def time_passed(self, now: Now) -> None:
        """End leases and delays, in the order of their deadlines."""
        ended = [each for each in self.held() if 0 < each.until <= now.mono]
        leased = self.leased()
        self.model.counts["leases.expired"] += sum(each.state == LEASED for each in ended if not self.gone(each))
        if ended:
            self.notice_gone()
        for item in sorted(ended, key=lambda each: (each.until, each.seq)):
            if not self.gone(item):
                self.give_back(item)
        if self.leased() < leased:
            self.idle_from = now.mono

    def idle_for_too_long(self, now: Now) -> bool:
        if self.idle_from is None or self.leased():
            self.idle_from = now.mono
        return 0 < self.expires_after <= now.mono - self.idle_from

    def dead_bytes(self) -> int:
        return sum(len(each.mail.headers) + len(each.mail.body) for each in self.dead)

    def weight(self) -> int:
        """Return the memory of what a user has besides their place in the log."""
        held, own = self.held(), [each for each in self.items if each.own]
        if not (held or self.dead or self.expires_after or self.max_deliveries):
            return 0
        return DELIVERY_STATE_COST + len(held) * HELD_COST + sum(each.letter_weight() for each in own + self.dead)

    def held_weight(self) -> int:
        """Return the part of it that leases need."""
        held = self.held()
        letters = sum(each.letter_weight() for each in held if each.own)
        delivery = DELIVERY_STATE_COST if held and not (self.expires_after or self.max_deliveries) else 0
        return delivery + len(held) * HELD_COST + letters

    def dead_weight(self) -> int:
        return sum(each.letter_weight() for each in self.dead)
