"""An extension of griffe: examples in docstrings become blocks of code on the site."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from griffe import Extension, Object


class Doctests(Extension):
    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring and ">>>" in obj.docstring.value:
            obj.docstring.value = "\n\n".join(map(_fenced, _paragraphs(obj.docstring.value)))


def _paragraphs(text: str) -> list[str]:
    lines = text.splitlines()
    return ["\n".join(group) for full, group in groupby(lines, key=lambda line: bool(line.strip())) if full]


def _fenced(paragraph: str) -> str:
    if ">>>" not in paragraph:
        return paragraph
    before, start, example = paragraph.partition(">>>")
    return f"{before}\n```pycon\n{start}{example}\n```"
