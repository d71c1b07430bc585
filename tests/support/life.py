"""Bursts of records with every kind of record, each valid in the state that the previous ones leave."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from broker import records as rec
from broker import slot_records as slots
from broker.calendar import Step
from broker.records import DeadLetter, Payload, Record
from common.cluster.slots import SLOTS, slot_of
from tests.support.driver import BrokerDriver

T, U, V = b"t", b"u", b"v"
N = b"from elsewhere"
S = slot_of(N)
BATCH = b"\x00\x00\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x02bc"
OFFSETS = b"".join(each.to_bytes(4, "little") for each in (0, 5, 9, 15))

LIFE: list[list[Record]] = [
    [
        rec.CalendarSet((Step(5, 7, 5),)),
        rec.TopicBegan(T, 1, 1),
        rec.SubscriptionSet(T, U, 1),
        rec.SubscriptionSet(T, V, 1),
    ],
    [rec.CalendarSet((Step(5, 7, 5), Step(9, -(10**6), 16)))],
    [
        rec.MessageStored(T, 1, 1_700, Payload(b"kept", b"one")),
        rec.MessageStored(T, 2, 1_701, Payload(b"", BATCH, 3, OFFSETS), 9_000),
    ],
    [rec.TopicChanged(T, 7, None, 0, True)],
    [rec.TopicChanged(T, None, 2**40, None, False)],
    [rec.MessageStored(T, 5, 1_702, Payload(b"\xff", b"")), rec.MessageStored(T, 6, 1_703, Payload(b"", b"six"))],
    [rec.Leased(T, U, 1, 3, 1, 5_000_000), rec.SubscriptionSet(T, U, 4)],
    [rec.SettingsSet(T, U, 60_000_000, 3), rec.SettingsSet(T, V, 0, 7)],
    [rec.SettingsSet(T, V, 0, 0)],
    [rec.Returned(T, U, (1, 3), 0), rec.Returned(T, U, (2,), 7_000_000)],
    [rec.Leased(T, U, 3, 1, 2, 8_000_000)],
    [rec.DeadLettered(T, U, DeadLetter(3, 1_701, 2, b"", b"", 9_000))],
    [rec.DeadLettered(T, U, DeadLetter(1, 1_700, 1, b"kept", b"one", 0))],
    [rec.DeadReturned(T, U, (3,)), rec.SubscriptionSet(T, V, 5)],
    [rec.Leased(T, U, 3, 1, 3, 9_000_000)],
    [rec.Returned(T, U, (3,), 9_500_000)],
    [rec.Leased(T, U, 4, 1, 1, 9_000_000), rec.SubscriptionSet(T, U, 5)],
    [rec.Finished(T, U, (2,))],
    [rec.HeadMoved(T, 5)],
    [rec.Finished(T, U, (4,)), rec.DeadEnded(T, U, (1,))],
    [
        rec.KeyRemembered(T, b"k", b"d" * 16, 1_000_000, 2, 1, 0),
        rec.KeyRemembered(T, b"l", b"e" * 16, 1_000_001, 0, 0, 5),
    ],
    [rec.KeyForgotten(T, b"k"), rec.KeyRemembered(b"later", b"k", b"d" * 16, 1_000_002, 0, 0, 1_900)],
    [rec.PublishDelayed(1, T, 1_800, Payload(b"kept", b"later"), 0)],
    [rec.PublishDelayed(2, b"nobody's", 1_790, Payload(b"", BATCH, 3, OFFSETS), 30_000)],
    [rec.DelayEnded(1), rec.MessageStored(T, 7, 1_800, Payload(b"kept", b"later"))],
    [rec.SubscriptionEnded(T, U), rec.SubscriptionSet(T, V, 7)],
    [rec.TopicBegan(b"w", 2, 1), rec.SubscriptionSet(b"w", U, 1), rec.TopicChanged(b"w", 5, 5, 5, True)],
    [rec.TopicChanged(b"w")],
    [rec.SubscriptionEnded(T, V), rec.TopicEnded(T)],
    [rec.TopicBegan(T, 3, 1), rec.SubscriptionSet(T, V, 1)],
    [slots.StoreProven(False)],
    [slots.Owns(slots.bitmap_of(range(SLOTS)), 1), slots.StoreProven(True)],
    [slots.SlotLeaving(S, "b1", 9)],
    [slots.SlotStays(S, 9), slots.SlotLeaving(S, "b2", 10)],
    [slots.SlotLeft(S, "b2", 10, 2)],
    [slots.SlotComing(S, "b2", 5)],
    [slots.SlotDropped(S, "b2", 5), slots.SlotComing(S, "b2", 7)],
    [rec.TopicBegan(N, 4, 12, "feedbeef7"), rec.SubscriptionSet(N, V, 12)],
    [rec.MessageStored(N, 12, 1_800, Payload(b"", b"came"))],
    [slots.SlotArrived(S, "b2", 7, 3)],
    [slots.SlotLeaving(S + 1, "b1", 11), slots.SlotDropped(S, "b1", 3), rec.SubscriptionSet(N, V, 13)],
    [slots.MoveSeen("", 12), slots.MoveSeen("b2", 8)],
]


def live(broker: BrokerDriver, bursts: Iterable[list[Record]], *, committed: bool = True) -> BrokerDriver:
    """Apply and commit each burst, together with the trims that follow from it."""
    for burst in bursts:
        for record in burst:
            if isinstance(record, rec.MessageStored):
                record = replace(record, piece=broker.state.last_piece + 1)
            broker.dispatcher.context.emit(record)
        if committed:
            broker.commit()
    return broker
