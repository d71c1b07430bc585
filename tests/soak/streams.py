"""`bin/soak --streams N`: streams that are cut at random moments, and the checker. Fronts and brokers die, too."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping

from tqdm import tqdm  # type: ignore[import-untyped]

from tests.e2e.checker import violations
from tests.e2e.cluster import Cluster
from tests.e2e.history import History, Mode
from tests.e2e.stream_cuts import STREAM_ENDS, STREAM_MODES, cut, cut_streams, ends, stream_load, stream_readers

CUTS_PER_KILL = 30
"""Streams that are cut for each front, and for each broker, that is killed."""
SHOWN = 20


def cut_many(cuts: int) -> int:
    """Cut this number of streams, durable; print the figures. Return 1 where a promise was broken."""
    kills = max(1, cuts // CUTS_PER_KILL)
    began = time.monotonic()
    cluster = Cluster(brokers=2, fronts=3, durable=True, front_settings={"access_log": "off"})
    try:
        load = stream_load(cluster, "cut", STREAM_MODES)
        with load, tqdm(total=cuts, unit="cut", mininterval=2) as bar:
            cut(cluster, load, cuts, kills, lambda: bar.update(min(cuts, cut_streams(load)) - bar.n))
        found = violations(load.history, load.topics)
        found += [f"a stream saw: {name}" for name in ends(load).keys() - STREAM_ENDS]
        if found:
            print(cluster.about(), file=sys.stderr)
    finally:
        cluster.close()
    counts = count(load.history, {Mode.AFTER: "client confirms", Mode.TIMED: "timed"})
    counts["fronts killed"] = counts["brokers killed"] = kills
    counts["messages announced as missed"] = sum(each.gaps for each in stream_readers(load))
    counts |= Counter({f"streams: {name}": count for name, count in ends(load).items()})
    return conclude(counts, found, time.monotonic() - began)


def conclude(counts: Counter[str], found: list[str], seconds: float) -> int:
    """Print the figures and what was found. Return the exit code."""
    print(f"seconds {seconds:,.0f}")
    print("\n".join(f"{name:40}{number:>10,}" for name, number in sorted(counts.items())))
    print("\n".join([f"VIOLATIONS: {len(found)}", *found[:SHOWN]]) if found else "\nno violations")
    return 1 if found else 0


def count(history: History, modes: Mapping[Mode, str]) -> Counter[str]:
    """Return how much was published and delivered, by the names of modes."""
    counts: Counter[str] = Counter()
    seen: set[tuple[str, str, str]] = set()
    for publish in history.publishes:
        counts[f"publishes {publish.outcome.value}"] += 1
    for take in history.takes:
        who = modes[take.mode]
        if take.body is not None:
            key = (take.topic, take.user, take.msg_id)
            counts[f"deliveries, {who}"] += 1
            counts[f"deliveries again, {who}"] += key in seen
            seen.add(key)
    return counts
