"""The mailboxes that a session reads, each with what is handled, acknowledged and leased."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from fanmail.message import Message, MessageId
from fanmail.responses import parse_streamed
from fanmail.session import ops
from fanmail.session.ops import Members, Op
from fanmail.streaming import Gap, log_gap

Mode = Literal["after", "lease", "take"]
DEFAULT_WINDOW = 100
DEFAULT_LEASE_S = 30.0
LOOK_AGAIN_S = 0.1
"""The least time after which a loop looks whether its read is open at last."""
ACKNOWLEDGED_PARTS = 4
"""Parts in which a window is acknowledged, if messages arrive faster than they are handled."""

log: logging.Logger = logging.getLogger("fanmail")


class SessionReadOptions(TypedDict, total=False):
    """Options of `read`."""

    mode: Mode
    """`after`, the default, acknowledges a message when the next one is asked for; `lease` leaves that to the caller,
    and several workers may share a user; `take` delivers at most once."""
    after: str
    """Mode `after`: the cursor. By default, the loop continues at the position of the user."""
    lease: float
    """Mode `lease`: seconds, by default 30. It is extended while the loop goes on, so it need only cover a crash."""
    window: int
    """The greatest number of messages that are delivered and not acknowledged, by default 100."""
    wait: float | None
    """End the loop after this many seconds without a message, in which the server had the read open; None, the default:
    never."""
    on_gap: Callable[[Gap], object]
    """Called for a gap; by default it is logged as a warning."""


@dataclass(slots=True, eq=False)
class Delivery:
    """A message that was delivered. The thread of the caller sets `is_taken`, and everything else is the session's."""

    message: Message
    is_taken: bool = False
    """Whether the caller has it."""
    is_void: bool = False
    """Whether the caller must not get it any more, as its lease ended with its connection."""
    extended_at: float = 0.0


Item = Delivery | Gap | Exception | None
"""What the loop of the caller gets: None and an exception are its end."""


class Read:
    """One mailbox that is read."""

    def __init__(self, topic: str, user: str, options: SessionReadOptions) -> None:
        self.topic: str = topic
        self.user: str = user
        self.mode: Mode = options.get("mode", "after")
        if self.mode not in ("after", "lease", "take"):
            raise ValueError(f"mode is {self.mode!r}, and not after, lease or take")
        for name in ("after", "lease"):
            if name in options and self.mode != name:
                raise ValueError(f"{name} is for mode {name}, and mode is {self.mode!r}")
        self.window: int = options.get("window", DEFAULT_WINDOW)
        self.lease: float = options.get("lease", DEFAULT_LEASE_S)
        self.wait: float | None = options.get("wait")
        self.on_gap: Callable[[Gap], object] = options.get("on_gap", log_gap)
        self.put: Callable[[Item], object] = _discard
        self.handled: str | None = options.get("after")
        """The cursor. The thread of the caller sets it."""
        self.confirmed: str | None = self.handled
        """What the server was told, and has answered."""
        self.is_confirming: bool = False
        self.is_begun: bool = False
        """Whether the server has answered to it on the present connection."""
        self.open_since: float = math.inf
        """When the server answered to it on the present connection, by the clock of the session. Infinity: it did not,
        or does not send messages now, so that their absence is no silence."""
        self.is_stopping: bool = False
        self.is_paused: bool = False
        """Mode `take`: whether it was stopped because its loop is behind. Nothing else bounds what waits there."""
        self.delivered: int = 0
        self.taken: int = 0
        """The number of messages that its loop has got. The thread of the caller sets it."""
        self.leased: dict[str, Delivery] = {}
        """What is not acknowledged or given back, by receipt."""
        self._seen: MessageId | None = None

    @property
    def acknowledge_after(self) -> int:
        """The number of handled messages after which they are acknowledged, if more of them wait."""
        return max(1, self.window // ACKNOWLEDGED_PARTS)

    @property
    def is_behind(self) -> bool:
        """Whether no more messages should come until its loop has taken some."""
        return self.mode == "take" and self.delivered - self.taken >= 2 * self.window

    @property
    def has_caught_up(self) -> bool:
        """Whether more should come again."""
        return self.delivered - self.taken <= self.window // 2

    def op(self) -> Op[None]:
        """Return the operation that begins it, or continues it on another connection."""
        more: dict[str, object] = {"lease": self.lease} if self.mode == "lease" else {}
        if self.mode == "after" and self.handled is not None:
            more["after"] = self.handled
        return ops.read(self.topic, self.user, self.mode, self.window, more)

    def left_s(self, waits_since: float, now: float) -> float | None:
        """Return for how many seconds its loop waits before it asks again; None: for ever; 0: the loop is over."""
        if self.wait is None:
            return None
        since = max(waits_since, self.open_since)
        return max(self.wait, LOOK_AGAIN_S) if since == math.inf else max(0.0, since + self.wait - now)

    def receive(self, members: Members, now: float) -> Message | None:
        """Deliver a message. Return it instead if it must be given back."""
        message = parse_streamed(members, self.topic, self.user)
        if self.mode == "after" and not self._is_new(message.id):
            return None
        if self.is_stopping:
            return message if message.receipt else None
        delivery = Delivery(message, extended_at=now)
        if message.receipt:
            self.leased[message.receipt] = delivery
        self.delivered += 1
        self.put(delivery)
        return None

    def tell_gap(self, first: str, position: str) -> None:
        """Tell of messages that are not delivered, but for those that came over another connection."""
        begin, end, seen = MessageId.parse(first), MessageId.parse(position), self._seen
        if seen is not None and seen.epoch == begin.epoch:
            begin = MessageId(begin.epoch, max(begin.seq, seen.seq + 1))
        if begin.epoch != end.epoch or begin.seq < end.seq:
            self.put(Gap(str(begin), position))

    def void(self) -> list[Message]:
        """Withdraw the leased messages that the caller does not have. Return them."""
        waiting = [each for each in self.leased.values() if not each.is_taken]
        for each in waiting:
            each.is_void = True
            del self.leased[each.message.receipt]
        return [each.message for each in waiting]

    def extensions(self, now: float) -> list[Op[None]]:
        """Return the operations that extend leases, for those of which a third has passed."""
        due = [each for each in self.leased.values() if each.extended_at + self.lease / 3 <= now]
        for each in due:
            each.extended_at = now
        return [ops.extend(each.message, self.lease) for each in due]

    def _is_new(self, text: str) -> bool:
        """Return whether a message comes for the first time: another connection repeats what was not acknowledged."""
        found, seen = MessageId.parse(text), self._seen
        if seen is not None and found.epoch == seen.epoch and found.seq <= seen.seq:
            return False
        self._seen = found
        return True


def _discard(item: Any) -> None:
    """Ignore what nobody waits for."""


class Loop:
    """How far the caller's loop over a read is. The thread of the caller uses it."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._handled = 0
        """The number of messages that were handled since the last acknowledgement."""

    def open(self, item: Item) -> Message | None:
        """Return the message in an item. Raises the error that it is."""
        if isinstance(item, Exception):
            raise item
        if isinstance(item, Gap):
            self._read.on_gap(item)
        elif item is not None and not item.is_void:
            item.is_taken = True
            return item.message
        return None

    def is_handled(self, message: Message, is_last: bool) -> bool:
        """Note that a message is handled. Return whether to `confirm` now; `is_last`: no other one has arrived."""
        self._read.taken += 1
        if self._read.mode != "after":
            return self._read.is_paused and self._read.has_caught_up
        self._read.handled = message.id
        self._handled += 1
        if not is_last and self._handled < self._read.acknowledge_after:
            return False
        self._handled = 0
        return True
