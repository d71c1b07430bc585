"""Panels of `results.png`: the broker alone, fan-out, memory, large bodies."""

from __future__ import annotations

from statistics import median
from typing import Any

from matplotlib.axes import Axes

from bench.measures import core, fanout
from bench.report.palette import AIM_COLOR, BARE_COLOR, LIGHT_COLOR, OURS_COLOR, OVER_COLOR, PALE_COLOR, thousands
from common.units import MIB


def draw_core(axes: Axes, data: dict[str, Any]) -> None:
    """Draw a single broker over the wire, and a bare ROUTER."""
    kinds = ["bare", *reversed(core.KINDS)]
    packings = ((0.2, 64, OURS_COLOR, BARE_COLOR), (-0.2, 1, PALE_COLOR, LIGHT_COLOR))
    for offset, packed, color, bare_color in packings:
        rates = [median(data["rates"][f"{kind}/{packed}"]) for kind in kinds]
        colors = [bare_color] + [color] * len(core.KINDS)
        bars = axes.barh([place + offset for place in range(len(kinds))], rates, 0.38, color=colors)
        axes.bar_label(bars, [f"{rate / 1000:.0f}k" for rate in rates], padding=3, fontsize=8)
        axes.barh(0, 0, color=color, label=f"{packed} request{'s' * (packed > 1)} per frame")
    axes.axvline(core.AIM, color=AIM_COLOR, linestyle=":", linewidth=2, label=f"aim: {core.AIM // 1000}k")
    shown = [kind.replace("take, nothing there", "take,\nnothing there") for kind in kinds]
    axes.set_yticks(range(len(kinds)), ["bare ROUTER", *shown[1:]])
    axes.set_title("One broker over the wire: operations per second", loc="left")
    axes.legend(frameon=False, fontsize=9, loc="lower right", bbox_to_anchor=(1, 0.16))
    axes.xaxis.set_major_formatter(thousands)
    axes.margins(x=0.12)


def draw_fanout(axes: Axes, data: dict[str, Any]) -> None:
    """Draw the time of one publish by number of subscribers."""
    names = list(data["us"])
    values = [median(data["us"][name]) for name in names]
    bars = axes.bar([f"{int(name):,}" for name in names], values, 0.6, color=OURS_COLOR)
    axes.bar_label(bars, [f"{value:.1f}" for value in values], padding=2)
    axes.axhline(values[0] * fanout.AIM, color=AIM_COLOR, linestyle=":", linewidth=2)
    axes.text(
        len(names) - 0.5, values[0] * fanout.AIM, f"aim: {fanout.AIM:g} times", ha="right", va="bottom", fontsize=9
    )
    axes.set_xlabel("subscribers of the topic")
    axes.set_title("One publish: µs", loc="left")
    axes.margins(y=0.25)


def draw_memory(axes: Axes, data: dict[str, Any]) -> None:
    """Draw the memory of each kind, and the broker's estimate."""
    cases = data["cases"][::-1]
    for place, case in enumerate(cases):
        over = case["bytes"] > case["estimate"]
        axes.barh(place, case["bytes"], 0.62, color=OVER_COLOR if over else OURS_COLOR)
        axes.plot([case["estimate"]] * 2, [place - 0.38, place + 0.38], color=AIM_COLOR, linewidth=2)
        axes.text(max(case["bytes"], case["estimate"]), place, f"  {case['bytes']:.0f}", va="center", fontsize=9)
    axes.plot([], [], color=AIM_COLOR, linewidth=2, label="the broker's own estimate")
    axes.set_yticks(range(len(cases)), [_short(case) for case in cases], fontsize=8)
    axes.set_title("Memory: bytes each", loc="left")
    axes.margins(x=0.18)
    axes.set_ylim(-0.6, len(cases) + 0.1)
    axes.legend(frameon=False, fontsize=9, loc="upper right")


def _short(case: dict[str, Any]) -> str:
    count, name = case["count"], case["name"]
    number = f"{count / 1e6:.3g} M" if count >= 1e6 else f"{count / 1e3:.3g} k"
    return (
        f"{number} {name}".replace(" to ", "\nto ")
        .replace(" of one", "\nof one")
        .replace(" with ", "\nwith ")
        .replace(", one", ",\none")
    )


def draw_large(axes: Axes, data: dict[str, Any]) -> None:
    """Draw megabytes per second, and memory."""
    kinds = ("publish", "read")
    for offset, name, color in ((-0.2, "Fanmail", OURS_COLOR), (0.2, "waitress", BARE_COLOR)):
        values = [median(data["mb_per_second"][f"{name} {kind}"]) for kind in kinds]
        bars = axes.bar([place + offset for place in range(2)], values, 0.38, color=color, label=name)
        axes.bar_label(bars, [f"{value:.0f}" for value in values], padding=2, fontsize=9)
    shown = [
        f"{name}: {each['before'] / MIB:.0f} → {each['peak'] / MIB:.0f} → {each['after'][-1] / MIB:.0f}"
        for name, each in data["memory"].items()
    ]
    axes.set_xlabel("MiB resident, before → peak → all read\n" + "\n".join(shown), fontsize=9)
    axes.set_xticks(range(2), kinds)
    axes.set_title("Bodies of 64 KiB: MB/s", loc="left")
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    axes.margins(y=0.3)
