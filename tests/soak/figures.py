"""What a soak counts and measures, and the table at its end."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.e2e.cluster import Cluster, Process
from tests.e2e.history import History, Mode, Outcome

MIB = 1024 * 1024


class Sample(NamedTuple):
    """Of the processes that nothing happens to, and of all stores, when everything is read."""

    broker_rss: int
    front_rss: int
    broker_descriptors: int
    front_descriptors: int
    store_bytes: int


LABELS = {
    "broker_rss": ("broker: resident", "MiB"),
    "front_rss": ("front: resident", "MiB"),
    "broker_descriptors": ("broker: descriptors", ""),
    "front_descriptors": ("front: descriptors", ""),
    "store_bytes": ("all stores", "MiB"),
}


def measure(cluster: Cluster, broker: Process, front: Process) -> Sample:
    """As things stand."""
    rss = [int(Path(f"/proc/{each.pid}/statm").read_text().split()[1]) for each in (broker, front)]
    files = [len(list(Path(f"/proc/{each.pid}/fd").iterdir())) for each in (broker, front)]
    stored = sum(path.stat().st_blocks * 512 for path in cluster.folder.glob("*/*/store.db*"))
    page = os.sysconf("SC_PAGE_SIZE")
    return Sample(rss[0] * page, rss[1] * page, files[0], files[1], stored)


@dataclass
class Figures:
    """Sums over all rounds."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    """One a round."""
    outages: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds until a topic was served again, by fault."""
    notes: list[str] = field(default_factory=list)
    """Lines for those who look for causes."""

    def add(self, history: History) -> None:
        """A round is over."""
        counts = self.counts
        for publish in history.publishes:
            counts[f"publishes {publish.outcome.value}"] += 1
            if publish.outcome is Outcome.OK:
                counts["messages acknowledged"] += len(publish.bodies)
        seen: set[tuple[str, str, str]] = set()
        for take in history.takes:
            if take.outcome is Outcome.UNKNOWN:
                counts[f"reads unknown, {take.mode.value}"] += 1
            elif take.body is not None:
                key = (take.topic, take.user, take.msg_id)
                counts["deliveries"] += 1
                counts["deliveries again, after"] += take.mode is Mode.AFTER and key in seen
                counts["deliveries again, lease"] += take.mode is Mode.LEASE and take.attempt > 1
                seen.add(key)
        counts["messages acknowledged by receipts"] += sum(len(ack.confirmed) for ack in history.acks)

    def table(self, seconds: float) -> str:
        """For people."""
        lines = [f"seconds {seconds:,.0f}, rounds {len(self.samples)}", ""]
        for name, value in [*sorted(self.counts.items()), *sorted(self.faults.items())]:
            lines.append(f"{name:36}{value:>14,}")
        if self.samples:
            begin, middle, end = self.samples[0], self.samples[len(self.samples) // 2], self.samples[-1]
            lines += ["", f"{'':36}{'first round':>14}{'middle':>14}{'last round':>14}{'growth':>14}"]
            for name, (label, unit) in LABELS.items():
                values = [getattr(each, name) / (MIB if unit else 1) for each in (begin, middle, end)]
                shown = [f"{value:,.1f}" if unit else f"{value:,.0f}" for value in (*values, values[2] - values[0])]
                lines.append(f"{f'{label}, {unit}' if unit else label:36}" + "".join(f"{each:>14}" for each in shown))
        if self.outages:
            lines += ["", f"{'seconds until served again':36}{'times':>14}{'p50':>14}{'p99':>14}{'most':>14}"]
        for name, waits in sorted(self.outages.items()):
            shown = [percentile(waits, 50), percentile(waits, 99), max(waits)]
            lines.append(f"{name:36}{len(waits):>14,}" + "".join(f"{each:>14.2f}" for each in shown))
        return "\n".join([*lines, *self.notes])


def percentile(values: list[float], percent: int) -> float:
    """Return the smallest value that this percentage of all does not exceed."""
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]
