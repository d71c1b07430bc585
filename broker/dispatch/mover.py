"""The part of the source of moves: sends slots to other brokers, and serves them again where that fails.

A slot is copied while it is in use, frozen when little is left, and the rest is sent then. A small one is only frozen.

One slot at a time goes to each target. Nothing here waits: `turn` is called in every turn of the loop, and looks at
what has been answered. What it decides is in records, which are settled before the next turn sends anything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from broker.dispatch.links import Link, Links
from broker.dispatch.move_job import Job, Phase, SentPart
from broker.dispatch.waiters import Waiters
from broker.operations.context import Context
from broker.operations.copying import Copy
from broker.operations.export import memory_of, parts_of, size_of
from broker.operations.packing import Part
from broker.operations.taking import refused
from broker.slot_records import MoveSeen, SlotLeaving, SlotLeft, SlotStays
from broker.state.slots import OWN
from common.clock import Now
from common.program import launcher
from common.protocol import stats
from common.protocol.move_ops import Adopt, AskMove, MoveOutcome, MoveRow, OfferSlot
from common.protocol.ops import Op

log = logging.getLogger("fanmail.broker")

MOST_MOVES = 4
"""Slots that leave at the same time."""
REMEMBERED = 16
"""Moves that are over whose outcomes are told."""
PATIENCE_US = 5_000_000
"""Microseconds that a target has to answer an offer; until then the slot is in use."""
RETRY_US = 100_000
"""Microseconds between two questions whether a slot has arrived."""


class Mover:
    """All moves from one broker."""

    def __init__(self, broker: str, context: Context, waiters: Waiters, links: Links) -> None:
        self._broker = broker
        self._context = context
        self._waiters = waiters
        self._links = links
        self._jobs: dict[int, Job] = {}
        """By slot, the oldest first; some of those that are over stay, so that their outcomes are told."""
        self._active: list[Job] = []
        """Those that were not over after the last turn."""
        self._steps: dict[Phase, Callable[[Job, Link, Now], None]] = {
            Phase.OFFERING: self._offer,
            Phase.COPYING: self._copy,
            Phase.LEAVING: self._send,
            Phase.ASKING: self._ask,
        }

    @property
    def busy(self) -> bool:
        """Return whether a move is under way."""
        return any(not job.over for job in self._active)

    @property
    def sends(self) -> bool:
        """Return whether a part can be sent at once."""
        return any(job.sends for job in self._active)

    def resume(self, now: Now) -> None:
        """Ask for the outcome of the moves that a former process has begun."""
        for slot, it in self._context.state.slots.leaving.items():
            self._jobs[slot] = Job(slot, it.to, Phase.ASKING, now, it.move)
            self._jobs[slot].reason = "the source was restarted"
            self._active.append(self._jobs[slot])

    def move(self, slot: int, to: str, now: Now, paused: bool = False) -> MoveRow:
        """Begin to move a slot, unless `paused`, or say how its move stands. Raise `move-refused`."""
        slots, job = self._context.state.slots, self._jobs.get(slot)
        if job is not None and not job.over and job.to == to:
            return self._row(job)
        pointer = slots.left.get(slot)
        if pointer is not None and pointer.to == to and slot not in slots.epochs:
            return MoveRow(slot, to, self._broker, pointer.move, Phase.LEFT.value)
        if paused:
            raise refused(f"moves are paused ({launcher('rebalance')} resume)")
        if slot not in slots.epochs:
            raise refused(f"this broker does not own slot {slot}")
        if to == self._broker or self._links.to(to) is None:
            raise refused(f"{to} is not another broker of the description")
        active = [each for each in self._active if not each.over]
        if len(active) >= MOST_MOVES or any(each.slot == slot or each.to == to for each in active):
            raise refused(f"slot {active[0].slot} is on the move to {active[0].to}: try again when it has arrived")
        for each in [each for each in self._jobs if self._jobs[each].over][:-REMEMBERED]:
            del self._jobs[each]
        self._jobs.pop(slot, None)
        job = self._jobs[slot] = Job(slot, to, Phase.OFFERING, now)
        self._active.append(job)
        return self._row(job)

    def abort(self, slot: int, now: Now) -> MoveRow:
        """End the move of a slot, unless it has arrived. Raise `move-refused`."""
        job = self._jobs.get(slot)
        if job is None or job.over:
            raise refused(f"slot {slot} is not on the move from here")
        if job.phase is Phase.OFFERING:
            self._refuse(job, "ended by the operator")
        elif job.phase is Phase.COPYING:
            self._call_off(job, "ended by the operator")
        else:
            self._doubt(job, "ended by the operator")
        return self._row(job)

    def give_up(self, slot: int, now: Now) -> None:
        """Serve a frozen slot again without the consent of its target, which is lost for good."""
        job = self._jobs[slot]
        job.reason = "claimed by the operator"
        self._stay(job, now)

    def rows(self) -> list[MoveRow]:
        """Return the moves from here, and the outcomes of the last ones."""
        return [self._row(job) for job in self._jobs.values()]

    def turn(self, now: Now) -> None:
        """Go on with all moves as far as they can go now."""
        for job in self._active:
            if not job.over:
                self._step(job, now)
        if self._active:
            self._active = [job for job in self._active if not job.over]

    def _step(self, job: Job, now: Now) -> None:
        link = self._links.to(job.to)
        if link is None:
            if job.phase in (Phase.OFFERING, Phase.COPYING):
                self._refuse(job, f"broker {job.to} is not in the description any more")
            elif job.phase is Phase.LEAVING:
                self._doubt(job, f"broker {job.to} is not in the description any more")
            return  # frozen until it is there again, or the operator says that it is lost for ever
        self._steps[job.phase](job, link, now)

    def _offer(self, job: Job, link: Link, now: Now) -> None:
        answer = job.answer()
        if answer is not None and answer.error is None:
            self._begin(job, now)
        elif answer is not None and answer.error is not None and not answer.lost:
            self._refuse(job, answer.error.detail)
        elif now.mono > job.began_us + PATIENCE_US:
            self._refuse(job, f"broker {job.to} cannot be reached")
        elif job.question is None and link.up:
            job.question = link.ask(Op.OFFER, self._offer_of(job))

    def _offer_of(self, job: Job) -> OfferSlot:
        context = self._context
        epoch, (memory, dead) = context.state.slots.epochs[job.slot], memory_of(context, job.slot)
        return OfferSlot(
            self._broker, job.slot, epoch, *size_of(context, job.slot), memory, largest=context.max_body, dead=dead
        )

    def _begin(self, job: Job, now: Now) -> None:
        """Copy the slot from the next turn on, or freeze it; the id of the move is settled before anything is sent."""
        slots = self._context.state.slots
        job.move = max(slots.seen.get(OWN, 0) + 1, now.time)
        job.copy = Copy(self._context, job.slot)
        if job.copy.small:
            self._freeze(job, now)
            return
        job.phase = Phase.COPYING
        self._context.emit(MoveSeen(OWN, job.move))
        self._context.may_cut()

    def _copy(self, job: Job, link: Link, now: Now) -> None:
        wrong, _ = job.outcome()
        if wrong or not link.up:
            self._call_off(job, wrong or f"broker {job.to} does not answer")
        elif job.copy is not None and not job.sent:
            part = job.copy.next_part()
            if part is None:
                self._freeze(job, now)
            else:
                self._send_part(job, part, link, now)

    def _call_off(self, job: Job, reason: str) -> None:
        """End a move that has frozen nothing. The target drops what has come, now or at the next offer."""
        link, epoch = self._links.to(job.to), self._context.state.slots.epochs[job.slot]
        if link is not None and link.up:
            link.ask(Op.MOVE_ASK, AskMove(self._broker, job.slot, epoch, job.move))
        self._refuse(job, reason)

    def _freeze(self, job: Job, now: Now) -> None:
        slots = self._context.state.slots
        job.phase, job.frozen_us = Phase.LEAVING, now.mono
        self._context.emit(SlotLeaving(job.slot, job.to, job.move))
        if slots.seen[OWN] > job.move:  # a move to another target has begun since, and the store keeps the last one
            self._context.emit(MoveSeen(OWN, slots.seen[OWN]))
        self._context.may_cut()
        for name in slots.names.get(job.slot, ()):
            self._waiters.frozen(name)

    def _send(self, job: Job, link: Link, now: Now) -> None:
        wrong, epoch = job.outcome()
        if epoch:
            self._arrived(job, job.to, epoch, now)
        elif wrong or not link.up:
            self._doubt(job, wrong or f"broker {job.to} does not answer")
        elif job.sends:
            copied = job.copy.logs if job.copy is not None else {}
            job.source = job.source or parts_of(self._context, job.slot, copied)
            self._send_part(job, next(job.source), link, now)

    def _send_part(self, job: Job, part: Part, link: Link, now: Now) -> None:
        job.parts += 1
        job.records += part.records
        job.bytes += len(part.body)
        epoch, clock = self._context.state.slots.epochs[job.slot], (now.mono, now.time)
        args = Adopt(self._broker, job.slot, epoch, job.move, job.parts, part.last, *clock, b"")
        job.sent.append(SentPart(job.parts, part.last, link.ask(Op.ADOPT, args, part.body)))

    def _doubt(self, job: Job, reason: str) -> None:
        """Ask the target what it has: only then is known who owns the slot."""
        job.phase, job.reason = Phase.ASKING, job.reason or reason
        job.forget()
        log.warning("a move is in doubt", extra={"slot": job.slot, "to": job.to, "reason": job.reason})

    def _ask(self, job: Job, link: Link, now: Now) -> None:
        answer, epoch = job.answer(), self._context.state.slots.epochs[job.slot]
        outcome = answer.result if answer is not None else None
        if isinstance(outcome, MoveOutcome) and not outcome.arrived:
            self._stay(job, now)
        elif isinstance(outcome, MoveOutcome) and outcome.epoch > epoch:
            self._arrived(job, outcome.owner or job.to, outcome.epoch, now)
        elif job.question is None and link.up and now.mono >= job.next_us:
            job.question = link.ask(Op.MOVE_ASK, AskMove(self._broker, job.slot, epoch, job.move))
            job.next_us = now.mono + RETRY_US

    def _stay(self, job: Job, now: Now) -> None:
        self._context.emit(SlotStays(job.slot, job.move))
        self._context.may_cut()
        self._context.thawed.append(job.slot)
        self._frozen_for(job, now)
        self._refuse(job, job.reason)

    def _arrived(self, job: Job, owner: str, epoch: int, now: Now) -> None:
        self._context.emit(SlotLeft(job.slot, owner, job.move, epoch))
        self._context.may_cut()
        self._context.residue.add(job.slot)
        job.phase = Phase.LEFT
        job.forget()
        frozen_us = self._frozen_for(job, now)
        self._context.counters[stats.SLOTS_LEFT] += 1
        about = {"slot": job.slot, "to": owner, "records": job.records, "bytes": job.bytes, "frozen_us": frozen_us}
        log.info("a slot has left", extra=about)

    def _frozen_for(self, job: Job, now: Now) -> int:
        frozen_us = now.mono - job.frozen_us
        self._context.counters[stats.FROZEN_US] += frozen_us
        return frozen_us

    def _refuse(self, job: Job, reason: str) -> None:
        job.phase, job.reason = Phase.REFUSED, reason
        job.forget()
        self._context.counters[stats.MOVES_REFUSED] += 1
        log.warning("a slot stays", extra={"slot": job.slot, "to": job.to, "reason": reason})

    def _row(self, job: Job) -> MoveRow:
        return MoveRow(job.slot, job.to, self._broker, job.move, job.phase.value, job.records, job.bytes, job.reason)
