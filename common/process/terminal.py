"""Colours on a terminal."""

from __future__ import annotations

import os
import re
from typing import TextIO

_COMMENT = re.compile(r"(?m)^( *)(# .*)$")
_COMMAND = re.compile(r"(?m)^( +)([a-z].*)$")
_DIM, _BOLD, _END = "\033[2m", "\033[1;36m", "\033[0m"


def has_colours(stream: TextIO) -> bool:
    """Return whether a stream is a terminal that shows colours, and the user has not switched them off."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def coloured(text: str) -> str:
    """Return a text with its comments dim and its indented commands bold."""
    return _COMMENT.sub(rf"\1{_DIM}\2{_END}", _COMMAND.sub(rf"\1{_BOLD}\2{_END}", text))
