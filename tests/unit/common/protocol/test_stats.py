"""The table of statistics, against what a broker counts."""

from __future__ import annotations

import ast
from pathlib import Path

from common.errors import ERRORS
from common.protocol import ops, stats
from common.protocol.ops import Op
from common.protocol.stats import Kind
from tests.support.driver import BrokerDriver

ROOT = Path(__file__).resolve().parents[4]


def test_names_and_metrics_are_each_there_once() -> None:
    names = [row.name for row in stats.STATS]
    metrics = [each.metric for each in (*stats.STATS, *stats.FAMILIES, *stats.HISTOGRAMS) if each.metric]
    assert len(set(names)) == len(names)
    assert len(set(metrics)) == len(metrics)
    assert all(each.help.endswith(".") for each in (*stats.STATS, *stats.FAMILIES, *stats.HISTOGRAMS) if each.metric)


def test_a_broker_that_has_done_nothing_answers_with_the_gauges_of_the_table(broker: BrokerDriver) -> None:
    gauges = [row.name for row in stats.STATS if row.kind is Kind.GAUGE]
    assert sorted(broker.ask(Op.STATS).result.values) == sorted(gauges)


def test_whatever_is_counted_is_in_the_table(broker: BrokerDriver) -> None:
    broker.subscribe(b"t", b"u")
    broker.publish(b"t", b"1", b"2", key=b"k", digest=bytes(16))
    broker.publish(b"nobody", b"x")
    broker.take(b"t", b"nobody")
    broker.lease(b"t", b"u", 1)
    broker.elapse(2)
    broker.handle([b"\xc1"])
    broker.ask(Op.PURGE, b"t", b"u")
    broker.ask(Op.PAUSE, args=ops.Pause(True))
    assert broker.publish(b"t", b"x").code == "paused"
    known = {row.name for row in stats.STATS} | set(stats.OPERATIONS)
    prefixes = tuple(family.prefix for family in stats.FAMILIES)
    counted = broker.ask(Op.STATS).result.values
    assert [name for name in counted if name not in known and not name.startswith(prefixes)] == []
    assert {stats.PUBLISHED, stats.LEASES_EXPIRED, stats.DROPPED("purged"), "PUBLISH"} <= set(counted)


def test_no_name_of_a_counter_is_written_outside_of_the_table() -> None:
    """Names come from `common.protocol.stats` wherever a broker counts."""
    names = {row.name for row in stats.STATS}
    prefixes = tuple(family.prefix for family in stats.FAMILIES)
    counting = [
        (path, node)
        for path in sorted((ROOT / "broker").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("counters")
    ]
    assert len(counting) > 20
    for path, node in counting:
        written = [each.value for each in ast.walk(node.slice) if isinstance(each, ast.Constant)]
        found = [each for each in map(str, written) if each in names or each.startswith(prefixes)]
        assert not found, f"{path}:{node.lineno}"


def test_reasons_of_refusals_are_codes_of_errors() -> None:
    assert set(stats.REJECTED.values) <= set(ERRORS)
