"""The clock of a broker's machine is set: what lasts does not notice, and dates are right and never go back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.calendar import MOST_STEPS, Calendar, Step
from broker.errors import UnusableStoreError
from broker.records import CalendarSet
from broker.state.topic_settings import TopicRule
from broker.store.base import Owner, Store
from broker.store.sqlite.files import FILE
from broker.store.sqlite.store import SqliteStore
from broker.store.sqlite.tables import META
from common.clock import HOLD_MS, NEW, ManualClock, Mark, StepWatch
from common.protocol import ops
from common.protocol.ops import Op
from tests.support.driver import STORE_ID, BrokerDriver
from tests.support.mirror import MirrorStore
from tests.support.table import table
from tests.unit.broker.operations.test_leases import receipt

HOUR = 3600.0
STEPS = [-30 * 365 * 24 * HOUR, -HOUR, -2.0, 2.0, HOUR, 30 * 365 * 24 * HOUR]
HELD = HOLD_MS / 1000 + 1


def open_sqlite(folder: Path) -> Store:
    return SqliteStore(folder, Owner("fanmail", "b0"), STORE_ID, reserve=0)


@pytest.fixture(params=["mirror", "sqlite"])
def durable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BrokerDriver]:
    broker = BrokerDriver(store=MirrorStore(STORE_ID) if request.param == "mirror" else open_sqlite(tmp_path))
    broker.subscribe(b"t", b"u")
    yield broker
    broker.store.close()


def restart(broker: BrokerDriver, folder: Path) -> None:
    """The broker is killed after a commit and starts again."""
    broker.commit()
    if isinstance(broker.store, SqliteStore):
        broker.store.close()
        broker.store = open_sqlite(folder)
    broker.restart()


def pass_time(broker: BrokerDriver, seconds: float) -> None:
    """As the loop sees it, which turns at least twice per second."""
    for _ in range(round(seconds * 2)):
        broker.elapse(0.5)


@table("step", STEPS)
@table("held", [2.0, 20.0])
@table("undone", [True, False])
def test_lives_and_delays_last_as_long_as_they_should(step: float, held: float, undone: bool) -> None:
    broker = BrokerDriver(rules=[TopicRule(lambda name: name == "old", max_age=60_000)])
    for topic in (b"t", b"old"):
        broker.subscribe(topic, b"u")
    broker.publish(b"t", b"before", ttl=60_000)
    broker.publish(b"old", b"before")
    broker.publish(b"t", b"later", delay=60_000)
    broker.clock.set_wall(step)
    pass_time(broker, held)
    broker.publish(b"t", b"meanwhile", ttl=60_000)
    broker.publish(b"old", b"meanwhile")
    broker.publish(b"t", b"soon", delay=30_000)
    if undone:
        broker.clock.set_wall(-step)
    pass_time(broker, 59.5 - held)
    assert [piece.first for piece in broker.state.topics[b"old"].pieces(1)] == [1, 2]
    assert broker.bodies(b"t", b"u") == [b"before", b"meanwhile", b"soon"]
    pass_time(broker, 0.5)
    assert broker.bodies(b"t", b"u") == [b"later"]
    assert broker.bodies(b"old", b"u") == [b"meanwhile"]
    broker.publish(b"t", b"short", ttl=1000)
    broker.publish(b"old", b"long")
    pass_time(broker, 1)
    assert broker.bodies(b"t", b"u") == []
    assert broker.bodies(b"old", b"u") == [b"long"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("held", [2.0, 20.0])
def test_over_restarts_too(durable: BrokerDriver, tmp_path: Path, step: float, held: float) -> None:
    durable.publish(b"t", b"before", ttl=60_000)
    durable.clock.set_wall(step)
    pass_time(durable, held)
    durable.publish(b"t", b"soon", delay=10_000)
    durable.publish(b"t", b"meanwhile", ttl=15_000)
    restart(durable, tmp_path)
    durable.clock.set_wall(-step)
    pass_time(durable, 9.5)
    assert durable.state.messages == 2
    pass_time(durable, 0.5)
    assert durable.state.messages == 3
    pass_time(durable, 5)
    assert durable.bodies(b"t", b"u") == [b"before", b"soon"]


def times(broker: BrokerDriver) -> list[int]:
    """`Msg-Time` of what waits, in seconds since the broker began. Takes nothing."""
    runs = broker.ask(Op.FETCH, b"t", b"u", ops.Fetch(True, "", 0, 100, 2**40, False)).result.runs
    return [round((run.time - ManualClock().now().wall) / 1000) for run in runs]


def test_a_short_mistake_is_in_no_date(durable: BrokerDriver, tmp_path: Path) -> None:
    for step in (HOUR, -HOUR, -HOUR, HOUR):
        durable.clock.set_wall(step)
        durable.publish(b"t", b"")
        pass_time(durable, 1)
    assert times(durable) == [0, 1, 2, 3]
    restart(durable, tmp_path)
    assert durable.state.calendar.steps == ()


def test_dates_follow_the_clock_and_never_go_back(durable: BrokerDriver, tmp_path: Path) -> None:
    durable.publish(b"t", b"")
    for step in (HOUR, -HOUR, 2 * HOUR, -HOUR):
        durable.clock.set_wall(step)
        pass_time(durable, HELD)
        durable.publish(b"t", b"")
    assert times(durable) == [0, 3606, 3606, 7218, 7224]
    restart(durable, tmp_path)
    assert times(durable) == [0, 3606, 3606, 7218, 7224], "a message keeps its date"
    pass_time(durable, 2 * HOUR)
    durable.publish(b"t", b"")
    assert durable.bodies(b"t", b"u") == [b""] * 6
    durable.publish(b"t", b"")
    assert times(durable) == [3600 + 24 + 7200]


@table("step", STEPS)
def test_everything_that_clients_are_told_has_the_date(step: float) -> None:
    broker = BrokerDriver()
    broker.subscribe(b"t", b"u", max_deliveries=1)
    broker.clock.set_wall(step)
    pass_time(broker, HELD)
    date = max(broker.clock.now().wall, broker.clock.now().time if step < 0 else 0)
    for _ in range(3):
        broker.publish(b"t", b"x")
    assert abs(broker.lease(b"t", b"u").result.time - date) <= 500
    assert [round(each.time - date, -3) for each in broker.fetch(b"t", b"u", 1, lease=30).result.runs] == [0]
    peeked = broker.ask(Op.PEEK, b"t", b"u", ops.Peek(9, 2**40)).result.messages
    assert [round(each.time - date, -3) for each in peeked] == [0] * 3
    broker.extend(b"t", b"u", receipt(1), 0)
    assert [round(each.time - date, -3) for each in broker.dead(b"t", b"u").result.letters] == [0]
    for key in (b"", b"k", b"k"):
        delayed = broker.ask(Op.PUBLISH, b"t", args=ops.Publish(b"", b"", delay=1000, key=key)).result
        assert delayed.due_ms == broker.clock.now().wall + 1000
    assert broker.dispatcher.stats(broker.clock.now())["oldest_age_ms"] < 2000


# --- the calendar


@given(st.lists(st.tuples(st.integers(-(10**7), 10**7), st.integers(0, 2 * HOLD_MS)), max_size=30))
def test_no_date_is_before_an_earlier_one(history: list[tuple[int, int]]) -> None:
    clock, calendar, watch = ManualClock(), Calendar(), StepWatch()
    told: list[tuple[int, int]] = []
    for step, milliseconds in history:
        clock.set_wall(step / 1000)
        clock.advance(milliseconds / 1000)
        steps = calendar.after(clock.now(), watch)
        if steps is not None:
            calendar.set(steps)
        told.append((clock.now().time, calendar.date(clock.now().time)))
    assert [date for _, date in told] == sorted(date for _, date in told)
    assert [calendar.date(time) for time, _ in told] == [date for _, date in told], "and each stays what it was"


def test_a_calendar_remembers_a_limited_number_of_steps() -> None:
    clock, calendar, watch = ManualClock(), Calendar(), StepWatch(hold_ms=0)
    for _ in range(MOST_STEPS + 3):
        clock.set_wall(1)
        clock.advance(1)
        steps = calendar.after(clock.now(), watch)
        assert steps is not None
        calendar.set(steps)
    assert len(calendar.steps) == MOST_STEPS
    assert calendar.date(clock.now().time) == clock.now().wall
    first = calendar.steps[0]
    assert calendar.date(first.since - 1) == first.floor - 1


# --- the store


def test_a_durable_store_keeps_where_the_clocks_stood(tmp_path: Path) -> None:
    store = open_sqlite(tmp_path)
    assert store.clock == NEW
    broker = BrokerDriver(store=store)
    broker.subscribe(b"t", b"u")
    mark = Mark(7_000_000, 70_000, "boot", 80_000)
    store.begin(broker.dispatcher.context.take_records(), mark)
    broker.dispatcher.context.emit(CalendarSet((Step(1, 2, 3), Step(60_000, -4, 5))))
    store.begin(broker.dispatcher.context.take_records(), mark)
    store.close()
    again = open_sqlite(tmp_path)
    assert again.clock == mark._replace(shift=-4)
    again.close()


@pytest.mark.parametrize("name", ["mark", "calendar"])
@pytest.mark.parametrize("value", ["", "[1]", "[[1]]", "{}", "[1, null, 3]", "nonsense", 7])
def test_a_store_whose_clocks_cannot_be_read_is_refused(tmp_path: Path, name: str, value: str) -> None:
    store = open_sqlite(tmp_path)
    assert isinstance(store, SqliteStore)
    store._db.execute(META.replace, (name, value))
    store.close()
    with pytest.raises(UnusableStoreError, match=FILE):
        list(open_sqlite(tmp_path).load())
