"""Panels of `results.png`: batches, leases, long polls, other servers. Rates are on a log scale."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median, quantiles
from typing import Any

from matplotlib.axes import Axes

from bench.measures import batches, leases, long_poll, peers
from bench.report.palette import AIM_COLOR, BARE_COLOR, LIGHT_COLOR, OURS_COLOR, PALE_COLOR, thousands


def draw_batches(axes: Axes, data: dict[str, Any]) -> None:
    """Draw small messages published and fetched, in batches and one at a time."""
    case = batches.SMALL
    for offset, single, color in ((-0.2, False, OURS_COLOR), (0.2, True, PALE_COLOR)):
        rates = [median(data["rates"][batches.kind(case, way, single)]) for way in batches.WAYS]
        bars = axes.bar([place + offset for place in range(len(rates))], rates, 0.38, color=color)
        axes.bar_label(bars, [thousands(rate) for rate in rates], padding=2, fontsize=9)
        axes.bar(0, 0, color=color, label="one at a time" if single else case.name)
    axes.axhline(batches.AIM, color=AIM_COLOR, linestyle=":", linewidth=2, label=f"aim: {thousands(batches.AIM)}")
    axes.set_yscale("log")
    axes.set_ylim(1000, 30_000_000)
    axes.set_xticks(range(len(batches.WAYS)), batches.WAYS)
    axes.yaxis.set_major_formatter(thousands)
    axes.set_title("Messages per second, one front", loc="left")
    axes.legend(frameon=False, fontsize=9, loc="upper left")


def draw_leases(axes: Axes, data: dict[str, Any]) -> None:
    """Draw the ways to read."""
    ways = list(reversed(leases.WAYS))
    colors = [OURS_COLOR if "lease" in way or "after" in way else LIGHT_COLOR for way in ways]
    _rates(axes, data, ways, [way.replace(", ", ",\n") for way in ways], colors)
    axes.barh(0, 0, color=OURS_COLOR, label="at least once")
    axes.barh(0, 0, color=LIGHT_COLOR, label="at most once")
    axes.set_title("Reading: messages per second", loc="left")
    axes.legend(frameon=False, fontsize=9, loc="upper right")


def draw_longpoll(axes: Axes, data: dict[str, Any]) -> None:
    """Draw the milliseconds from a publish to the answers of the waiters."""
    names = list(long_poll.WAKES)
    for place, name in enumerate(names):
        for offset, kind, color in ((-0.2, "wake_ms", OURS_COLOR), (0.2, "reply_ms", LIGHT_COLOR)):
            values = [value for each in data[kind][name] for value in each]
            p50, p99 = median(values), quantiles(values, n=100, method="inclusive")[98]
            axes.bar(place + offset, p50, 0.38, color=color)
            axes.vlines(place + offset, p50, p99, color=AIM_COLOR, linewidth=1)
            axes.text(place + offset, p99, f"{p50:.2f}\n{p99:.2f}", ha="center", va="bottom", fontsize=9)
    axes.bar(0, 0, color=OURS_COLOR, label="a waiter has the message")
    axes.bar(0, 0, color=LIGHT_COLOR, label="the publisher has its answer")
    axes.set_xticks(range(len(names)), [name.replace(", ", ",\n") for name in names])
    axes.set_title(f"{long_poll.WAITERS} long polls: ms, p50, p99", loc="left")
    axes.legend(frameon=False, fontsize=9, loc="upper right")
    axes.margins(y=0.35)


def draw_peers(axes: Axes, data: dict[str, Any]) -> None:
    """Draw other servers under the same loads."""
    kinds = list(reversed(data["rates"]))
    colors = [OURS_COLOR if kind.startswith(peers.OURS) else BARE_COLOR for kind in kinds]
    _rates(axes, data, kinds, kinds, colors)
    axes.set_title("Compared with other servers: messages per second", loc="left")


def _rates(axes: Axes, data: dict[str, Any], kinds: Sequence[str], labels: Sequence[str], colors: list[str]) -> None:
    rates = [median(data["rates"][kind]) for kind in kinds]
    bars = axes.barh(range(len(kinds)), rates, 0.7, color=colors)
    axes.bar_label(bars, [thousands(rate) for rate in rates], padding=3, fontsize=9)
    axes.set_yticks(range(len(kinds)), labels, fontsize=8)
    if rates:
        axes.set_xscale("log")
        axes.set_xlim(1000, max(rates) * 12)
    axes.xaxis.set_major_formatter(thousands)
