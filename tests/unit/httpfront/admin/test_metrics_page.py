"""The page about operations, the alert rules and the Grafana dashboard, against the tables of metrics."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from common.protocol import log_stats, stats
from httpfront.admin.metric_table import FRONT_METRICS
from httpfront.admin.metrics_page import broker_table, candidate_table, front_table

ROOT = Path(__file__).resolve().parents[4]
_ROW = re.compile(r"^\| `(fanmail_\w+)` \|", re.MULTILINE)
_NAMED = re.compile(r"\bfanmail_\w+")
_OF_HISTOGRAMS = re.compile(r"_(bucket|sum|count)$")
FRONT, BROKER = set(_ROW.findall(front_table())), set(_ROW.findall(broker_table()))
CANDIDATE = set(_ROW.findall(candidate_table()))
ALL = FRONT | BROKER | CANDIDATE
TABLES = {"fanmail_log", "fanmail_logs"}
"""Of a database, which the page about replication names beside the metrics."""


def named_in(text: str) -> set[str]:
    """The metrics in an expression."""
    found = _NAMED.findall(text)
    return {name if name in ALL else _OF_HISTOGRAMS.sub("", name) for name in found}


def panels() -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((ROOT / "deploy/grafana/fanmail.json").read_text())["panels"]
    return loaded


def expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel.get("targets", [])]


def rules() -> str:
    return (ROOT / "deploy/prometheus/alerts.yml").read_text()


def test_the_tables_have_every_metric() -> None:
    exported = {each.metric for each in (*stats.STATS, *stats.FAMILIES, *stats.HISTOGRAMS) if each.metric}
    exported.add(stats.OPERATIONS_METRIC)
    assert {name.removesuffix("_total") for name in BROKER} == exported
    assert {name.removesuffix("_total") for name in FRONT} == {row.name for row in FRONT_METRICS}
    of_logs = {each.metric for each in (*log_stats.LOG_STATS, log_stats.APPENDS)}
    assert {name.removesuffix("_total") for name in CANDIDATE} == of_logs
    assert len(ALL) == len(FRONT) + len(BROKER) + len(CANDIDATE)


def test_the_page_about_operations_has_the_tables_as_they_are_printed() -> None:
    """By `python -m httpfront.admin.metrics_page`."""
    page = (ROOT / "docs/operations.md").read_text()
    assert front_table() in page
    assert broker_table() in page
    assert set(_ROW.findall(page)) == FRONT | BROKER
    assert named_in(page) <= ALL


def test_the_page_about_replication_has_the_table_of_candidates() -> None:
    page = (ROOT / "docs/replication.md").read_text()
    assert candidate_table() in page
    assert named_in(page) - TABLES <= ALL


def test_rules_and_panels_name_metrics_that_there_are() -> None:
    assert len(expressions()) > 40
    for text in (rules(), *expressions()):
        assert named_in(text) <= ALL, text


def test_every_metric_has_a_panel() -> None:
    shown = set().union(*map(named_in, expressions()))
    assert shown == ALL


def test_figures_of_brokers_are_added_up_once() -> None:
    """They come from one target: a maximum over fronts would hide that they are scraped twice."""
    for text in (*rules().splitlines(), *expressions()):
        if named_in(text) & BROKER:
            assert not re.search(r"\b(max|min|avg) by", text), text


def test_panels_have_ids_and_places_of_their_own() -> None:
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
