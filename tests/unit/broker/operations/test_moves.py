"""A slot that another core has adopted answers as it did where it was: the same operations on both, no difference."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from broker import records as rec
from broker.errors import BrokenInvariantError, MisfitError
from broker.operations import adoption, export, publishing
from broker.operations.leasing import MOST_DROPPED
from broker.state.idempotency import key_weight
from broker.state.leases import DEAD_LETTER_COST
from common.clock import ManualClock
from common.cluster.slots import slot_of
from common.protocol import ops
from common.protocol.ops import Op
from tests.support.driver import ROOMY, BrokerDriver
from tests.support.histories import STEPS, TOPICS, History, new_folder
from tests.support.mirror import MirrorStore
from tests.support.moved import ALL, NONE, Moving, Twins, move_all, own
from tests.support.snapshot import check_state
from tests.support.table import table
from tests.support.tiny import TINY

SEEDS, BEFORE, IN_USE, AFTER = 8, 60, 60, 40
CONTROL_SEEDS = 200
"""Within which a flaw is found."""
KEEPER = b"z"
"""Reads everything at once, so that no topic ends: another life of it would have another epoch in each core."""
KINDS = {name: weight for name, (weight, _) in STEPS.items() if name != "end"}


@pytest.fixture
def root() -> Iterator[Path]:
    folder = new_folder()
    yield folder
    shutil.rmtree(folder)


def step(history: History) -> None:
    name = history.rng.choices(list(KINDS), weights=list(KINDS.values()))[0]
    STEPS[name][1](history, history.rng.choice(TOPICS), history.rng.choice([b"u", b"v", b"w"]))
    for topic in TOPICS:
        history.broker.fetch(topic, KEEPER)


def differences(seed: int, root: Path, ahead_s: float, *, in_use: int = 0) -> list[str]:
    """Play a history, move all of it, and play the same in both places; return where they differ.

    `in_use` steps are played while the slots are copied.
    """
    rng = Random(seed)
    folder = Path(tempfile.mkdtemp(dir=root))
    history = History(rng, folder)
    source: Any = history.broker
    own(source, ALL)
    for topic in TOPICS:
        source.subscribe(topic, KEEPER)
    for _ in range(BEFORE):
        step(history)
        source.commit()
    clock = ManualClock(5_000_000 + rng.randrange(10**9), source.clock.now().wall + int(ahead_s * 1000) - 1000)
    target = another_core(source, clock, rng)
    moving = Moving(source, target)
    for _ in range(in_use):
        copy_some(moving, history)
    source.restart()  # which restarts the idle clocks, as a move does
    moving.end()
    target.run_due()
    check_state(target.state)
    twins = Twins(source, target)
    history.broker = twins  # type: ignore[assignment]
    for _ in range(AFTER):
        twins.elapse(rng.choice((0, 0, 0.2)))
        step(history)
        source.commit()
        target.commit()
    check_state(target.state)
    source.store.close()
    return twins.differences


def copy_some(moving: Moving, history: History) -> None:
    """Copy some of a topic, or go on with the history. A topic may end, and begin anew."""
    rng, source, began = history.rng, moving.source, moving.source.clock.now().mono
    topic = rng.choice(TOPICS)
    choice = rng.random()
    if choice < 0.4:
        moving.copy_some(slot_of(topic))
    elif choice < 0.5:
        source.ask(*rng.choice([(Op.PURGE, topic, b"u"), (Op.TOPIC_END, topic, b"", ops.EndTopic(1000))]))
        for user in (KEEPER, b"u"):
            source.subscribe(topic, user)
    else:
        step(history)
    source.commit()
    moving.target.clock.advance((source.clock.now().mono - began) / 1e6)


def another_core(source: BrokerDriver, clock: ManualClock, rng: Random) -> BrokerDriver:
    """One that has had topics, pieces and delays of its own, so that its numbers are others."""
    target = BrokerDriver(source.limits, MirrorStore("feedbeef", lazy=True), clock, keep=10**6, thresholds=TINY)
    target.identity = target.identity._replace(broker="b1")
    for number in range(rng.randrange(1, 9)):
        target.subscribe(b"own %d" % number, b"u")
        target.publish(b"own %d" % number, b"mine")
        target.publish(b"own %d" % number, b"mine", delay=10)
    target.elapse(1)
    for number in range(9):
        target.unsubscribe(b"own %d" % number, b"u")
    target.commit()
    own(target, NONE)
    return target


@table("ahead_s", [0, 7200.5, -3600])
def test_an_adopted_slot_answers_as_it_did(root: Path, ahead_s: float) -> None:
    for seed in range(SEEDS):
        assert not differences(seed, root, ahead_s), f"seed {seed}"


@table("ahead_s", [0, 7200.5])
def test_a_slot_that_is_copied_while_it_is_in_use_answers_as_it_did(root: Path, ahead_s: float) -> None:
    for seed in range(SEEDS):
        assert not differences(seed, root, ahead_s, in_use=IN_USE), f"seed {seed}"


@table("kind", [rec.HeadMoved, rec.MessageStored, rec.TopicEnded])
def test_what_happened_since_it_was_copied_and_is_not_sent_is_found(
    root: Path, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = export.records_of
    omitted = (kind, rec.TopicBegan, rec.SubscriptionEnded) if kind is rec.TopicEnded else kind

    def unsent(context: Any, slot: int, copied: Any) -> Iterator[rec.Record]:
        return (each for each in whole(context, slot, copied) if not copied or not isinstance(each, omitted))

    monkeypatch.setattr(export, "records_of", unsent)
    assert any(found(seed, root) for seed in range(CONTROL_SEEDS))


def found(seed: int, root: Path) -> bool:
    """Return whether a flaw is found, or makes records that do not fit."""
    try:
        return bool(differences(seed, root, 0, in_use=IN_USE))
    except (BrokenInvariantError, MisfitError, AssertionError):
        return True


@table("kind", [rec.Leased, rec.KeyRemembered, rec.PublishDelayed, rec.MessageStored])
def test_times_that_are_not_shifted_are_found(root: Path, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers are still assigned anew."""
    whole = adoption._OWN[kind]

    def unshifted(record: Any, state: Any, shift: adoption.Shift) -> Any:
        none = object.__new__(adoption.Shift)
        none.mono_us = none.time_ms = 0
        return whole(record, state, none)

    monkeypatch.setitem(adoption._OWN, kind, unshifted)
    assert any(differences(seed, root, 7200) for seed in range(CONTROL_SEEDS))


def test_keys_beyond_the_ceiling_that_have_come_are_forgotten_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "MOST_FORGOTTEN", 5)
    source, target = BrokerDriver(), BrokerDriver(limits=ROOMY._replace(key_bytes=key_weight(b"t", b"00")))
    target.identity = target.identity._replace(broker="b1")
    source.subscribe(b"t", b"u")
    for number in range(20):
        source.publish(b"t", b"", key=b"%02d" % number)
    own(source, ALL)
    own(target, NONE)
    move_all(source, target)
    for left in (16, 12, 8, 4, 1, 1):
        assert not target.publish(b"t", b"", key=b"n%d" % left).code
        assert len(target.state.keys) == left


def test_dead_letters_beyond_the_ceiling_that_have_come_are_dropped_in_steps() -> None:
    source, target = BrokerDriver(), BrokerDriver(limits=ROOMY._replace(memory=80_000))
    target.identity = target.identity._replace(broker="b1")
    own(source, ALL)
    own(target, NONE)
    for broker in (source, target):
        broker.subscribe(b"t", b"u", max_deliveries=1)
    for number in range(110):
        source.publish(b"t", b"%02d" % number)
    source.fetch(b"t", b"u", lease=1)
    for _ in range(3):
        source.elapse(1)
    assert source.state.delivery_totals.dead_letters == 110
    assert target.limits.dead_memory // DEAD_LETTER_COST < 80
    target.unsubscribe(b"t", b"u")
    move_all(source, target)
    counts = [110]
    for _ in range(4):
        target.publish(b"t", b"00")
        target.lease(b"t", b"u", 1)
        target.elapse(1)
        counts.append(target.state.delivery_totals.dead_letters)
    assert counts[:3] == [110, 110 - MOST_DROPPED, 110 - 2 * MOST_DROPPED]
    assert target.state.delivery_totals.dead.topics.total <= target.limits.dead_memory
