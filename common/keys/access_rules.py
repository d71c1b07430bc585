"""Who may do what: rules over patterns of names, as they stand in a file of API keys.

A rule is a table `{rights = [...], topic = "pattern", user = "pattern"}`. In a pattern `*` is any text, `?` one
character, `[abc]` one of them, case matters, and `{sub}` is the subject of the key, letter by letter. A rule that
allows names its patterns, so that nothing is granted by leaving a word out; in one that denies, what is left
out is `*`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import translate
from typing import Any, NamedTuple

PUBLISH, SUBSCRIBE, CONSUME, ADMIN, METRICS = "publish", "subscribe", "consume", "admin", "metrics"
PATTERNS = {
    PUBLISH: ("topic",),
    SUBSCRIBE: ("topic", "user"),
    CONSUME: ("topic", "user"),
    ADMIN: (),
    METRICS: (),
}
"""Every right, and the patterns that its rules have."""
MAX_PATTERN = 1024
"""Characters."""
SUBJECT = "{sub}"
_SUBJECT_IN_BRACKETS = re.compile(r"\[!?\]?[^\]\[]*\{sub\}").search
_HELD = "\0"
"""Stands for the subject while a pattern is translated; no name has it."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]").search
_MEMBERS = ("rights", "topic", "user")

Fits = Callable[[str], object]


class Rule(NamedTuple):
    """Some rights, and the names that they are about."""

    rights: frozenset[str]
    topic: Fits
    user: Fits

    def covers(self, right: str, topic: str, user: str) -> bool:
        """Is the rule about this? Names that a right has no patterns for are "", which only `*` fits."""
        return right in self.rights and bool(self.topic(topic)) and bool(self.user(user))


def parse_rule(table: Any, subject: str, allows: bool) -> Rule:
    """The rule that a table spells. Raises `ValueError` that names the member; never repeats more than its name."""
    if not isinstance(table, dict):
        raise ValueError('must be a table such as {rights = ["publish"], topic = "orders.*"}')
    for member in table:
        if member not in _MEMBERS:
            raise ValueError(f"has the unknown member {member!r}; known are {', '.join(_MEMBERS)}")
    rights = _rights(table.get("rights"))
    for member in ("topic", "user"):
        _check_wanted(member, member in table, rights, allows)
    topic, user = (_pattern(member, table.get(member, "*"), subject) for member in ("topic", "user"))
    return Rule(frozenset(rights) | ({METRICS} if ADMIN in rights else set()), topic, user)


def _rights(given: Any) -> list[str]:
    if not isinstance(given, list) or not given or not all(isinstance(each, str) for each in given):
        raise ValueError(f"needs rights, a list of {', '.join(PATTERNS)}")
    for each in given:
        if each not in PATTERNS:
            raise ValueError(f"rights has the unknown {each!r}; known are {', '.join(PATTERNS)}")
    return given


def _check_wanted(member: str, there: bool, rights: list[str], allows: bool) -> None:
    """Raises `ValueError` where a right has no such pattern, or where one that allows needs it."""
    without = [right for right in rights if member not in PATTERNS[right]]
    if there and without:
        raise ValueError(f"{member} does not go with {without[0]}: give that a rule of its own")
    if allows and not there and len(without) < len(rights):
        raise ValueError(f'needs {member}, a pattern of names ("*": any)')


def _pattern(member: str, text: Any, subject: str) -> Fits:
    if not isinstance(text, str) or not 0 < len(text) <= MAX_PATTERN or _CONTROL(text):
        raise ValueError(f"{member} must be a pattern of 1 to {MAX_PATTERN} characters without control characters")
    if _SUBJECT_IN_BRACKETS(text):
        raise ValueError(f"{member} has {SUBJECT} inside of [...]")
    expression = translate(text.replace(SUBJECT, _HELD))
    return re.compile(expression.replace(_HELD, re.escape(subject))).match
