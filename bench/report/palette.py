"""Colors and number formats of `results.png`."""

from __future__ import annotations

OURS_COLOR, BARE_COLOR, LIGHT_COLOR, OWN_COLOR, AIM_COLOR = "#d1495b", "#5b7b9a", "#a9bfd4", "#c9c3b1", "#333333"
PALE_COLOR, OVER_COLOR = "#e8a5ae", "#8f1d2c"


def thousands(value: float, _: object = None) -> str:
    """Format a number as 8k or 1.5M."""
    if value >= 1e6:
        return f"{value / 1e6:.3g}M"
    return f"{value / 1000:.3g}k" if value >= 1000 else f"{value:.3g}"
