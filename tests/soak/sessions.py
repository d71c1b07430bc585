"""`bin/soak --sessions N`: sessions that are cut at random moments, and the checker. Fronts and brokers die, too."""

from __future__ import annotations

import sys
import time
from collections import Counter

from tqdm import tqdm  # type: ignore[import-untyped]

from tests.e2e.checker import violations
from tests.e2e.cluster import Cluster
from tests.e2e.history import Mode
from tests.e2e.session_cuts import SESSION_ENDS, cut_all, cut_sessions, session_ends, session_load
from tests.e2e.session_readers import SessionReader
from tests.soak.streams import conclude, count

CUTS_PER_ROUND = 30
"""Cuts for each broker and front that are killed, and each front that drains."""


def cut_many_sessions(cuts: int) -> int:
    """Cut `cuts` sessions, durable; print the figures. Return 1 where a promise was broken."""
    rounds = max(1, cuts // CUTS_PER_ROUND)
    began = time.monotonic()
    cluster = Cluster(brokers=2, fronts=3, durable=True, front_settings={"access_log": "off"})
    try:
        load = session_load(cluster, "cut")
        with load, tqdm(total=cuts, unit="cut", mininterval=2) as bar:
            cut_all(cluster, load, cuts, rounds, lambda: bar.update(min(cuts, cut_sessions(load)) - bar.n))
        found = violations(load.history, load.topics)
        found += [f"a client of a session raised: {name}" for name in session_ends(load).keys() - SESSION_ENDS]
        held = cluster.held()["messages"]
        found += [f"{held} messages are still held"] if held else []
        if found:
            print(cluster.about(), file=sys.stderr)
    finally:
        cluster.close()
    counts = count(load.history, {Mode.AFTER: "after", Mode.LEASE: "lease"})
    counts["fronts killed"] = counts["brokers killed"] = counts["fronts drained"] = rounds
    counts["cuts"] = cut_sessions(load)
    counts["gaps told"] = sum(each.gaps for each in load.readers_of(SessionReader))
    counts |= Counter({f"sessions: {name}": number for name, number in session_ends(load).items()})
    return conclude(counts, found, time.monotonic() - began)
