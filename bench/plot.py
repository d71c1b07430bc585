"""`results.png`: the HTTP loads as grouped bars, and a small panel for each of the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import matplotlib as mpl

mpl.use("Agg")  # before pyplot: there is no display
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from bench import core, fanout, http_load
from bench.http_load import KEPT, OURS, OWN_SERVER, WAITRESS
from bench.measurement import Section

OURS_COLOR, BARE_COLOR, KEPT_COLOR, OWN_COLOR, AIM_COLOR = "#d1495b", "#5b7b9a", "#a9bfd4", "#c9c3b1", "#333333"
MIB = 1024 * 1024


def draw(path: Path, data: dict[str, Section]) -> None:
    """Draws what was measured of `data`, by the measurement's name; the rest of the panels is left out."""
    panels = [name for name in _PANELS if name in data]
    rows = [name for name, wanted in (("http", "http" in data), ("panels", bool(panels))) if wanted]
    if not rows:
        return
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True})
    figure = plt.figure(figsize=(16, 5 * len(rows) + 0.4), layout="constrained")
    parts = dict(zip(rows, figure.subfigures(len(rows), 1, squeeze=False, hspace=0.04)[:, 0], strict=True))
    if "http" in parts:
        _http(parts["http"].subplots(), data["http"].data)
    if "panels" in parts:
        widths = [_PANELS[name].width for name in panels]
        grid = parts["panels"].subplots(1, len(panels), width_ratios=widths, squeeze=False)[0]
        for name, axes in zip(panels, grid, strict=True):
            _PANELS[name].draw(axes, data[name].data)
    figure.suptitle("Fanmail beside bare programs of the same kind, on one machine, in one run", fontsize=13)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _http(axes: Axes, data: dict[str, Any]) -> None:
    colors = {OURS: OURS_COLOR, WAITRESS: BARE_COLOR, KEPT: KEPT_COLOR, OWN_SERVER: OWN_COLOR}
    labels = {
        OURS: "Fanmail",
        WAITRESS: "bare Falcon application on waitress",
        KEPT: "the same, 200 instead of 204: waitress closes after a 204",
        OWN_SERVER: "bare Falcon application on our server classes",
    }
    width = 0.2
    for group, case in enumerate(data["cases"]):
        names = [name for name in colors if name in case["runs"]]
        aim = http_load.AIM * median(_rates(case, WAITRESS))
        for place, name in enumerate(names):
            rates, p99 = _rates(case, name), median(run["p99"] for run in case["runs"][name])
            x = group + (place - (len(names) - 1) / 2) * width
            axes.bar(x, median(rates), width * 0.94, color=colors[name], label=labels.pop(name, None))
            axes.vlines(x, min(rates), max(rates), color=AIM_COLOR, linewidth=1, alpha=0.6)
            top = max(rates)
            if name == OURS:
                axes.hlines(aim, x - width / 2, x + width / 2, color=AIM_COLOR, linestyle=":", linewidth=2)
                top = max(top, aim)
            axes.text(x, top, f"{median(rates) / 1000:.1f}k\n{p99:.0f} ms", ha="center", va="bottom", fontsize=8)
    axes.set_xticks(range(len(data["cases"])), [_case_label(case) for case in data["cases"]])
    axes.set_title("HTTP, 32 connections: requests a second, p99 beneath; line: spread over the rounds", loc="left")
    axes.plot([], [], color=AIM_COLOR, linestyle=":", linewidth=2, label=f"aim: {http_load.AIM:g} of waitress")
    axes.margins(y=0.18)
    axes.legend(frameon=False, fontsize=9, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    axes.yaxis.set_major_formatter(_thousands)


def _rates(case: dict[str, Any], name: str) -> list[float]:
    return [run["requests"] / run["seconds"] for run in case["runs"][name]]


def _case_label(case: dict[str, Any]) -> str:
    size = case["size"]
    return f"{case['name']}\n{size} front{'s' * (size > 1)}, {size} broker{'s' * (size > 1)}"


def _core(axes: Axes, data: dict[str, Any]) -> None:
    kinds = ["bare", *reversed(core.KINDS)]
    packings = ((0.2, 64, OURS_COLOR, BARE_COLOR), (-0.2, 1, "#e8a5ae", KEPT_COLOR))
    for offset, packed, color, bare_color in packings:
        rates = [median(data["rates"][f"{kind}/{packed}"]) for kind in kinds]
        colors = [bare_color] + [color] * len(core.KINDS)
        bars = axes.barh([place + offset for place in range(len(kinds))], rates, 0.38, color=colors)
        axes.bar_label(bars, [f"{rate / 1000:.0f}k" for rate in rates], padding=3, fontsize=8)
        axes.barh(0, 0, color=color, label=f"{packed} request{'s' * (packed > 1)} a frame")
    axes.axvline(core.AIM, color=AIM_COLOR, linestyle=":", linewidth=2, label=f"aim: {core.AIM // 1000}k")
    shown = [kind.replace("take, nothing there", "take,\nnothing there") for kind in kinds]
    axes.set_yticks(range(len(kinds)), ["bare ROUTER", *shown[1:]])
    axes.set_title("One broker over the wire: operations a second", loc="left")
    axes.legend(frameon=False, fontsize=9, loc="lower right", bbox_to_anchor=(1, 0.16))
    axes.xaxis.set_major_formatter(_thousands)
    axes.margins(x=0.12)


def _fanout(axes: Axes, data: dict[str, Any]) -> None:
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


def _memory(axes: Axes, data: dict[str, Any]) -> None:
    cases = data["cases"][::-1]
    for place, case in enumerate(cases):
        over = case["bytes"] > case["estimate"]
        axes.barh(place, case["bytes"], 0.62, color="#8f1d2c" if over else OURS_COLOR)
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


def _large(axes: Axes, data: dict[str, Any]) -> None:
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


def _thousands(value: float, _: object) -> str:
    return f"{value / 1000:g}k" if value else "0"


class _Panel(NamedTuple):
    draw: Callable[[Axes, dict[str, Any]], None]
    width: float


_PANELS = {
    "core": _Panel(_core, 1.5),
    "fanout": _Panel(_fanout, 0.8),
    "memory": _Panel(_memory, 1.2),
    "large": _Panel(_large, 0.9),
}
