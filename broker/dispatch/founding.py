"""What a store owns that does not say so yet, and whether a restored one still owns what it says.

A store that an older version made has what its topics were spread over. A new one takes, of what the description gives
it, the slots that no other broker names: once all brokers of the description have answered that they use the same map,
and only where the others have all that the map gives them or are new, too. So a broker that is added to a cluster owns
nothing, and no description makes two owners of a slot.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from broker.dispatch.links import Links, Question
from broker.operations.context import Context
from broker.ownership import digest_of
from broker.slot_records import KEPT, Owns, SlotLeft, SlotStays, StoreProven, bitmap_of
from common.clock import Now
from common.cluster.slots import SLOTS, ClusterMap, rendezvous, slot_of
from common.protocol.move_ops import ListSlots, SlotTable
from common.protocol.ops import Op

log = logging.getLogger("fanmail.broker")

FIRST_EPOCH = 1
ASK_US = 200_000
"""Microseconds between two questions to a broker that has not answered."""
REPORT_US = 10_000_000
"""Microseconds between two lines in the log about brokers that do not answer."""
SERVING, FOUNDING, UNPROVEN, MEMORY = "serving", "founding", "unproven", "memory"


def recorded_share(broker: str, spread_over: str, topics: Iterable[bytes], cluster: ClusterMap) -> set[int]:
    """Return the slots of a store of an older version, which names the brokers over which its topics were spread.

    A store without topics has what the description gives it: so it was until now.
    """
    held = {slot_of(name) for name in topics}
    ids = sorted(spread_over.split(",")) if spread_over else []
    if not held or not ids or ids == sorted(each.id for each in cluster.brokers):
        return held | described(broker, cluster)
    return held | {slot for slot in range(SLOTS) if rendezvous(slot, ids) == broker}


def described(broker: str, cluster: ClusterMap) -> set[int]:
    """Return the slots that the description gives a broker."""
    return {slot for slot, owner in enumerate(cluster.owners) if owner == broker}


def new_share(broker: str, cluster: ClusterMap, tables: Iterable[SlotTable]) -> set[int] | None:
    """Return the slots of a new store, None while other brokers use another map.

    `tables` are those of all other brokers.
    """
    named: set[int] = set()
    founded = []
    for table in tables:
        if table.map_digest != digest_of(cluster):
            return None
        if table.status != FOUNDING:
            founded.append(table.broker)
        for run in table.owned:
            named.update(range(run.first, run.last + 1))
        named.update(pointer.slot for pointer in table.left)
        named.update(row.slot for row in table.moves if row.state in ("leaving", "asking", "coming"))
    if not all(described(each, cluster) <= named for each in founded):
        return set()  # the description has changed since the cluster was made
    return described(broker, cluster) - named


def newest(tables: Iterable[SlotTable]) -> dict[int, tuple[int, str]]:
    """Return for each slot the greatest epoch that brokers name, and whose it is since then."""
    found: dict[int, tuple[int, str]] = {}
    for table in tables:
        named = [(slot, run.epoch, table.broker) for run in table.owned for slot in range(run.first, run.last + 1)]
        for slot, epoch, owner in (*named, *((each.slot, each.epoch, each.to) for each in table.left)):
            found[slot] = max(found.get(slot, (0, "")), (epoch, owner))
    return found


class Founding:
    """Asks all other brokers of the description for their slots, until each has answered."""

    def __init__(self, broker: str, context: Context, links: Links) -> None:
        self._broker = broker
        self._context = context
        self._links = links
        self.status = FOUNDING
        self._tables: dict[str, SlotTable] = {}
        self._questions: dict[str, Question] = {}
        self._next_us = self._report_us = 0

    def begin(self, cluster: ClusterMap, now: Now) -> None:
        """Decide what can be decided without other brokers; called when the store is loaded."""
        state, self.status = self._context.state, SERVING
        self._report_us = now.mono + REPORT_US
        if state.garbage.freed is None:
            self.status = MEMORY
        elif not state.slots.known and not self._is_old:
            self.status = FOUNDING
        else:
            if not state.slots.known:
                self._own(recorded_share(self._broker, state.slots.spread_over or "", state.names, cluster))
            self.status = UNPROVEN if state.slots.unproven else SERVING
        self.turn(cluster, now)

    @property
    def _is_old(self) -> bool:
        """Whether an older version has served with this store."""
        state = self._context.state
        return state.slots.spread_over is not None or state.topics_begun > 0 or len(state.delayed) > 0

    def turn(self, cluster: ClusterMap, now: Now) -> None:
        """Ask those who have not answered, and decide once all have."""
        if self.status not in (FOUNDING, UNPROVEN):
            return
        others = [each.id for each in cluster.brokers if each.id != self._broker]
        self._read_answers()
        missing = [each for each in others if each not in self._tables]
        if not missing:
            self._decide(cluster, [self._tables[each] for each in others], now)
        elif now.mono >= self._next_us:
            self._next_us = now.mono + ASK_US
            self._ask(missing)
            self._report(missing, now)

    def _ask(self, missing: Iterable[str]) -> None:
        for each in missing:
            link = self._links.to(each)
            if each not in self._questions and link is not None and link.answers:
                self._questions[each] = link.ask(Op.SLOTS, ListSlots())

    def _read_answers(self) -> None:
        for each in [each for each, question in self._questions.items() if question.done]:
            result = self._questions.pop(each).result
            if isinstance(result, SlotTable):
                self._tables[each] = result

    def _report(self, missing: list[str], now: Now) -> None:
        if now.mono >= self._report_us:
            self._report_us = now.mono + REPORT_US
            what = "a restored" if self.status == UNPROVEN else "a new"
            log.warning(f"{what} store serves nothing until all brokers have named their slots", extra={"of": missing})

    def _decide(self, cluster: ClusterMap, tables: list[SlotTable], now: Now) -> None:
        self._tables = {}
        if self.status == UNPROVEN:
            self._prove(tables)
            return
        share = new_share(self._broker, cluster, tables)
        if share is None:
            self._next_us = now.mono + ASK_US
            self._report([each.broker for each in tables if each.map_digest != digest_of(cluster)], now)
            return
        if not share:
            log.warning("this broker begins with no slots: the cluster has been made already")
        self._own(share)
        self.status = SERVING

    def _own(self, share: set[int]) -> None:
        self._context.emit(Owns(bitmap_of(share), FIRST_EPOCH))
        self._context.thawed += share
        log.info("the store says from now on which slots it owns", extra={"slots": len(share)})

    def _prove(self, tables: list[SlotTable]) -> None:
        """Give up what others have since; nothing is deleted on the word of a copy.

        What they know to have gone to this broker since the copy was made is its own, as far as the copy has it: with
        a smaller epoch it could not leave again.
        """
        slots, again = self._context.state.slots, []
        for slot, (epoch, owner) in sorted(newest(tables).items()):
            mine = slots.epochs.get(slot, 0)
            if owner != self._broker and 0 < mine <= epoch:
                log.error("a slot of this restored store is elsewhere", extra={"slot": slot, "owner": owner})
                self._context.emit(SlotLeft(slot, owner, KEPT, epoch))
            elif owner == self._broker and mine < epoch and (mine or slot not in slots.names):
                self._take_again(slot, epoch)
                again.append(slot)
        if again:
            log.error("slots have come since this store was copied: it has of them what it had", extra={"slots": again})
        self._context.emit(StoreProven(True))
        self.status = SERVING

    def _take_again(self, slot: int, epoch: int) -> None:
        leaving = self._context.state.slots.leaving.get(slot)
        if leaving is not None:
            self._context.emit(SlotStays(slot, leaving.move))
        self._context.residue.discard(slot)
        self._context.emit(Owns(bitmap_of([slot]), epoch))
        self._context.thawed.append(slot)
