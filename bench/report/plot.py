"""`results.png`: the HTTP loads as grouped bars, and rows of panels for the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import matplotlib as mpl

mpl.use("Agg")  # before pyplot: there is no display
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from bench.harness.measurement import Section
from bench.measures import http
from bench.measures.http import OURS, OWN_SERVER, WAITRESS, WAITRESS_200
from bench.report import panels, panels_load, panels_store
from bench.report.palette import AIM_COLOR, BARE_COLOR, LIGHT_COLOR, OURS_COLOR, OWN_COLOR, thousands


def draw(path: Path, data: dict[str, Section]) -> None:
    """Draw the panels of the measurements in `data`, by name; others, and those without figures, are left out."""
    rows = [[name for name in row if name in data and data[name].data.get("rates", True)] for row in _ROWS]
    rows = [row for row in rows if row]
    if not rows:
        return
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True})
    figure = plt.figure(figsize=(16, 5 * len(rows) + 0.4), layout="constrained")
    for part, row in zip(figure.subfigures(len(rows), 1, squeeze=False, hspace=0.04)[:, 0], rows, strict=True):
        widths = [_PANELS[name].width for name in row]
        grid = part.subplots(1, len(row), width_ratios=widths, squeeze=False)[0]
        for name, axes in zip(row, grid, strict=True):
            _PANELS[name].draw(axes, data[name].data)
    figure.suptitle("Fanmail compared with bare programs of the same kind, on one machine, in one run", fontsize=13)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _http(axes: Axes, data: dict[str, Any]) -> None:
    colors = {OURS: OURS_COLOR, WAITRESS: BARE_COLOR, WAITRESS_200: LIGHT_COLOR, OWN_SERVER: OWN_COLOR}
    labels = {
        OURS: "Fanmail",
        WAITRESS: "bare Falcon application on waitress",
        WAITRESS_200: "the same, 200 instead of 204: waitress closes after a 204",
        OWN_SERVER: "bare Falcon application on our server classes",
    }
    width = 0.2
    for group, case in enumerate(data["cases"]):
        names = [name for name in colors if name in case["runs"]]
        aim = http.AIM * median(_rates(case, WAITRESS))
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
    axes.set_title("HTTP, 32 connections: requests per second, p99 below; line: range over the rounds", loc="left")
    axes.plot([], [], color=AIM_COLOR, linestyle=":", linewidth=2, label=f"aim: {http.AIM:g} of waitress")
    axes.margins(y=0.18)
    axes.legend(frameon=False, fontsize=9, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.12))
    axes.yaxis.set_major_formatter(thousands)


def _rates(case: dict[str, Any], name: str) -> list[float]:
    return [run["requests"] / run["seconds"] for run in case["runs"][name]]


def _case_label(case: dict[str, Any]) -> str:
    size = case["size"]
    return f"{case['name']}\n{size} front{'s' * (size > 1)}, {size} broker{'s' * (size > 1)}"


class _Panel(NamedTuple):
    draw: Callable[[Axes, dict[str, Any]], None]
    width: float


_ROWS: tuple[dict[str, _Panel], ...] = (
    {"http": _Panel(_http, 1.0)},
    {
        "core": _Panel(panels.draw_core, 1.5),
        "fanout": _Panel(panels.draw_fanout, 0.8),
        "memory": _Panel(panels.draw_memory, 1.2),
        "large": _Panel(panels.draw_large, 0.9),
    },
    {
        "batches": _Panel(panels_load.draw_batches, 1.0),
        "leases": _Panel(panels_load.draw_leases, 1.2),
        "longpoll": _Panel(panels_load.draw_longpoll, 0.9),
        "peers": _Panel(panels_load.draw_peers, 1.2),
    },
    {
        "durable": _Panel(panels_store.draw_durable, 1.3),
        "sync": _Panel(panels_store.draw_sync, 0.9),
        "loading": _Panel(panels_store.draw_loading, 1.0),
    },
    {"backlog": _Panel(panels_store.draw_backlog, 1.0)},
)
_PANELS = {name: panel for row in _ROWS for name, panel in row.items()}
