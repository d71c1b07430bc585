"""Panels of `results.png`: the durable store."""

from __future__ import annotations

from statistics import median
from typing import Any

from matplotlib.axes import Axes

from bench.harness.measurement import ratio
from bench.measures import loading
from bench.measures.durable import DURABLE, MEMORY
from bench.measures.sync import BARE, STORE, percentiles
from bench.report.palette import AIM_COLOR, BARE_COLOR, LIGHT_COLOR, OURS_COLOR, PALE_COLOR, thousands
from common.units import MIB


def draw_durable(axes: Axes, data: dict[str, Any]) -> None:
    """Draw the fraction of the rate in memory, and the aims."""
    names = list(reversed(data["aims"]))
    for place, name in enumerate(names):
        ours, other = (data[store]["rates"][name] for store in (DURABLE, MEMORY))
        shares = [each / against for each, against in zip(ours, other, strict=True)]
        value, aim = ratio(ours, other), data["aims"][name]
        axes.barh(place, value, 0.66, color=OURS_COLOR if aim else PALE_COLOR)
        axes.hlines(place, min(shares), max(shares), color=AIM_COLOR, linewidth=1, alpha=0.6)
        if aim:
            axes.plot([aim] * 2, [place - 0.42, place + 0.42], color=AIM_COLOR, linestyle=":", linewidth=2)
        shown = f"  {value:.2f}: {thousands(median(ours))} of {thousands(median(other))}"
        axes.text(max(value, *shares, aim or 0), place, shown, va="center", fontsize=9)
    axes.plot([], [], color=AIM_COLOR, linestyle=":", linewidth=2, label="aim")
    axes.set_yticks(range(len(names)), [name.replace(", ", ",\n") for name in names], fontsize=8)
    axes.set_xlabel("below each load: the number of connections")
    axes.set_title("Durable: fraction of the messages per second in memory", loc="left")
    axes.legend(frameon=False, fontsize=9, loc="upper right")
    axes.set_ylim(-0.6, len(names) + 0.3)
    axes.margins(x=0.35)


def draw_sync(axes: Axes, data: dict[str, Any]) -> None:
    """Draw the milliseconds of a commit by its number of messages."""
    sizes = list(data["ms"][STORE])
    for offset, name, color in ((-0.2, STORE, OURS_COLOR), (0.2, BARE, BARE_COLOR)):
        for place, size in enumerate(sizes):
            p50, p99 = percentiles(data["ms"][name][size])
            axes.bar(place + offset, p50, 0.38, color=color)
            axes.vlines(place + offset, p50, p99, color=AIM_COLOR, linewidth=1)
            axes.text(place + offset, p99, f"{p50:.2f}\n{p99:.2f}", ha="center", va="bottom", fontsize=9)
        axes.bar(0, 0, color=color, label={STORE: "commit of the store", BARE: "append and fdatasync"}[name])
    axes.set_xticks(range(len(sizes)), sizes, fontsize=8)
    axes.set_xlabel("messages of 100 bytes per commit")
    axes.set_title("Commit: ms, p50, p99", loc="left")
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    axes.margins(y=0.3)


def draw_loading(axes: Axes, data: dict[str, Any]) -> None:
    """Draw the seconds until ready."""
    cases = data["cases"]
    for offset, key, color in ((-0.2, "seconds", OURS_COLOR), (0.2, "from_disk", LIGHT_COLOR)):
        bars = axes.bar(
            [n + offset for n in range(len(cases))], [median(each[key]) for each in cases], 0.38, color=color
        )
        axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=9)
        axes.bar(0, 0, color=color, label={"seconds": "file in memory", "from_disk": "file on the disk"}[key])
    aim = loading.AIM * data["count"] / loading.MILLION
    axes.axhline(aim, color=AIM_COLOR, linestyle=":", linewidth=2, label=f"aim: {aim:.3g} s")
    labels = [f"{each['name']}\n{each['rss'] / MIB:,.0f} MiB".replace(" in ", "\nin ") for each in cases]
    axes.set_xticks(range(len(cases)), [label.replace(" of ", "\nof ") for label in labels], fontsize=8)
    axes.set_title(f"Start on a store of {thousands(data['count'])}: s until ready", loc="left")
    axes.legend(frameon=False, fontsize=9, loc="upper right")
    axes.margins(y=0.3)


def draw_backlog(axes: Axes, data: dict[str, Any]) -> None:
    """Draw the memory of the broker and the size of its files over time."""
    times, memory, files = zip(*data["samples"], strict=True)
    axes.plot(times, [each / MIB for each in memory], color=OURS_COLOR, label="memory of the broker, MiB")
    axes.plot(times, [each / MIB for each in files], color=BARE_COLOR, label="its store's files, MiB")
    axes.axhline(data["memory"] / MIB, color=AIM_COLOR, linestyle=":", linewidth=2, label="memory setting")
    axes.set_yscale("log")
    axes.set_ylim(10, max(files) / MIB * 4)
    written = -1.0
    for at, name in data["marks"]:
        axes.axvline(at, color=LIGHT_COLOR, linewidth=1)
        close = written >= 0 and at < written + 0.015 * times[-1]
        axes.text(at, max(files) / MIB * (0.6 if close else 3.4), f" {name}", rotation=90, va="top", fontsize=8)
        written = at
    axes.set_xlabel("seconds")
    axes.yaxis.set_major_formatter(thousands)
    axes.set_title(f"Backlog of {data['size'] / 1e9:g} GB", loc="left")
    axes.legend(frameon=False, fontsize=9, loc="lower right")
