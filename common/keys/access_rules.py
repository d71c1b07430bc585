"""Access rules over patterns of names, as written in a file of API keys.

A rule is a table `{rights = [...], topic = "pattern", user = "pattern"}`. In a pattern `*` matches any text, `?` one
character, `[abc]` one of these; patterns are case-sensitive, and `{sub}` is the subject of the key, literally. An allow
rule must have its patterns, so that no right is granted by an omission; in a deny rule an omitted pattern is `*`.
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
"""Every right, and the patterns of its rules."""
MAX_PATTERN = 1024
"""Maximum length of a pattern, characters."""
SUBJECT = "{sub}"
_SUBJECT_IN_BRACKETS = re.compile(r"\[!?\]?[^\]\[]*\{sub\}").search
_HELD = "\0"
"""Placeholder of the subject while a pattern is translated; it is in no name."""
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]").search
_MEMBERS = ("rights", "topic", "user")

Fits = Callable[[str], object]


class Rule(NamedTuple):
    """Rights, and the names that they apply to."""

    rights: frozenset[str]
    topic: Fits
    user: Fits

    def covers(self, right: str, topic: str, user: str) -> bool:
        """Return whether the rule applies. Names for which a right has no pattern are "", which only `*` matches."""
        return right in self.rights and bool(self.topic(topic)) and bool(self.user(user))


def parse_rule(table: Any, subject: str, allows: bool) -> Rule:
    """Return the rule of a table. Raises `ValueError` with the name of the member, never its value."""
    if not isinstance(table, dict):
        raise ValueError('must be a table such as {rights = ["publish"], topic = "orders.*"}')
    for member in table:
        if member not in _MEMBERS:
            raise ValueError(f"has an unknown member {member!r}; known are {', '.join(_MEMBERS)}")
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
            raise ValueError(f"rights has an unknown value {each!r}; known are {', '.join(PATTERNS)}")
    return given


def _check_wanted(member: str, there: bool, rights: list[str], allows: bool) -> None:
    """Raise `ValueError` if a right has no such pattern, or if an allow rule lacks it."""
    without = [right for right in rights if member not in PATTERNS[right]]
    if there and without:
        raise ValueError(f"{member} does not apply to {without[0]}: use a separate rule for it")
    if allows and not there and len(without) < len(rights):
        raise ValueError(f'needs {member}, a pattern of names ("*": any)')


def _pattern(member: str, text: Any, subject: str) -> Fits:
    if not isinstance(text, str) or not 0 < len(text) <= MAX_PATTERN or _CONTROL(text):
        raise ValueError(f"{member} must be a pattern of 1 to {MAX_PATTERN} characters without control characters")
    if _SUBJECT_IN_BRACKETS(text):
        raise ValueError(f"{member} has {SUBJECT} inside [...]")
    expression = translate(text.replace(SUBJECT, _HELD))
    return re.compile(expression.replace(_HELD, re.escape(subject))).match
