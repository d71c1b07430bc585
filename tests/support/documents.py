"""The contents of the project's Markdown files: fenced blocks, their commands, links and headings."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^ *```(\S*)\s*$")
_COMMENT = re.compile(r"(?:^|\s+)#(?: (.*))?$", re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^]\n]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.*?) *#*$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block: the file relative to the project, the number of its first line, language and text."""

    document: str
    line: int
    language: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.document}:{self.line}"


class Command(NamedTuple):
    """A command of a shell block with all of its lines, and the comment after it, which `text` does not include."""

    block: Block
    line: int
    text: str
    comment: str

    @property
    def where(self) -> str:
        return f"{self.block.document}:{self.line}"


def documents(*patterns: str) -> list[str]:
    """Return the Markdown files that match, relative to the project's folder."""
    return sorted(str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern))


@cache
def blocks(document: str) -> tuple[Block, ...]:
    """Return all fenced blocks of a file, in order. Raises AssertionError for a block that does not end."""
    found, text, begin, language = [], [], 0, ""
    for number, line in enumerate((ROOT / document).read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if not fence and not begin:
            continue
        if not fence:
            text.append(line)
        elif begin:
            found.append(Block(document, begin, language, "\n".join(text) + "\n"))
            begin = 0
        else:
            text, begin, language = [], number + 1, fence[1]
    assert not begin, f"{document}:{begin}: a block that does not end"
    return tuple(found)


def code(document: str, language: str) -> str:
    """Return all blocks of a language as one text."""
    return "\n".join(block.text for block in blocks(document) if block.language == language)


def prose(document: str) -> str:
    """Return the file with empty lines in place of fenced blocks."""
    lines = (ROOT / document).read_text(encoding="utf-8").splitlines()
    for block in blocks(document):
        for number in range(block.line - 2, block.line + block.text.count("\n")):
            lines[number] = ""
    return "\n".join(lines) + "\n"


def commands(block: Block) -> Iterator[Command]:
    """Yield the commands of a shell block. A command continues as long as bash expects more lines."""
    lines: list[str] = []
    for number, line in enumerate(block.text.splitlines(), block.line):
        if not lines and (not line.strip() or line.lstrip().startswith("#")):
            continue
        lines.append(line)
        if _whole("\n".join(lines)):
            comment = _COMMENT.search(lines[-1])
            last = _COMMENT.sub("", lines[-1]) if comment else lines[-1]
            text = "\n".join([*lines[:-1], last]).strip()
            yield Command(block, number - len(lines) + 1, text, (comment[1] or "") if comment else "")
            lines = []
    assert not lines, f"{block.where}: bash does not understand {lines}"


def _whole(text: str) -> bool:
    if text.endswith("\\"):
        return False
    done = subprocess.run(["bash", "-n", "-c", text], capture_output=True, text=True, check=False)
    return done.returncode == 0 and "here-document" not in done.stderr


def links(document: str) -> list[str]:
    """Return the targets of all links except those to other sites."""
    found: list[str] = _LINK.findall(prose(document))
    return [each for each in found if not re.match(r"[a-z]+:", each)]


def anchors(document: str) -> set[str]:
    """Return the valid fragments of links to the file, as GitHub derives them from the headings."""
    words = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in _HEADING.findall(prose(document))]
    return {f"{word}-{words[:n].count(word)}" if word in words[:n] else word for n, word in enumerate(words)}
