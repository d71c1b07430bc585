"""The table on standard output and `results.json`."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from bench.harness.measurement import Row, Section

LIBRARIES = ("falcon", "waitress", "pyzmq", "msgspec", "greenlet", "apsw")


def machine() -> dict[str, Any]:
    """Return what the figures depend on besides the code."""
    return {
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def table(sections: Sequence[Section]) -> str:
    """Return all sections as text, with columns aligned within each."""
    return "\n".join(line for section in sections for line in _lines(section))


def _lines(section: Section) -> list[str]:
    cells: list[tuple[str, ...]] = [("", "Fanmail", section.against, "ratio", "aim", "", section.remarks)]
    above: tuple[str, ...] = ()
    for row in map(_cells, section.rows):
        cells.append(("", "", *row[2:]) if above[:2] == row[:2] else row)
        above = row
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return ["", section.title, *(_line(row, widths) for row in cells)]


def write_json(path: Path, options: dict[str, Any], sections: Mapping[str, Section]) -> None:
    """Write all figures of all rounds."""
    document = {
        "machine": machine(),
        "options": options,
        "measurements": {
            name: {"title": each.title, "rows": [vars(row) for row in each.rows], "data": each.data}
            for name, each in sections.items()
        },
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")


def _cells(row: Row) -> tuple[str, ...]:
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    met = {None: "", True: "yes", False: "NO"}[row.met]
    return (row.name, row.ours, row.against, ratio, row.aim, met, row.remark)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)]
    return ("  " + "  ".join(padded)).rstrip()
