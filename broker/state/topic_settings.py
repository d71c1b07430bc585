"""The ceilings of topics, set by the operator only: by patterns of names in the configuration file.

[[topics]]
pattern = "logs.*"          # * any text, ? one character, [abc] one of them; the first that matches counts
max_messages = 100000
max_bytes = "64MiB"
max_age = 3600              # seconds
overflow = "drop-oldest"    # or "reject", the default
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import translate
from hashlib import blake2b
from typing import Any, NamedTuple

from broker.records import TopicChanged
from common.units import choice, count, seconds, size


class TopicSettings(NamedTuple):
    """The settings of one topic."""

    max_messages: int = 2**60
    """Stored messages."""
    max_bytes: int = 2**60
    """Content bytes of the stored messages."""
    max_age: int = 0
    """Milliseconds after which a stored message is dropped; 0: never."""
    drop_oldest: bool = False
    """At a ceiling, drop the oldest messages instead of refusing publishes."""


class TopicRule(NamedTuple):
    """The operator's settings for topics whose names match; None: as the broker's settings say."""

    fits: Callable[[str], object]
    max_messages: int | None = None
    max_bytes: int | None = None
    max_age: int | None = None
    drop_oldest: bool | None = None


class TopicRules:
    """The settings of every topic. The first rule that matches a name counts."""

    def __init__(
        self,
        default: TopicSettings = TopicSettings(),  # noqa: B008
        rules: Sequence[TopicRule] = (),
        source: object = (),
    ) -> None:
        """`source` is what the rules were made from."""
        self.default = default
        self._rules = tuple(rules)
        digest = blake2b(repr((tuple(default), source)).encode(), digest_size=6).digest()
        self.digest = int.from_bytes(digest, "big")
        """Differs where the settings do, for a comparison of processes."""

    def of(self, name: bytes) -> TopicSettings:
        """Return the settings of the topic with this name."""
        if not self._rules:
            return self.default
        text = name.decode("utf-8", "replace")
        rule = next((each for each in self._rules if each.fits(text)), None)
        if rule is None:
            return self.default
        given = {key: value for key, value in rule._asdict().items() if key != "fits" and value is not None}
        return self.default._replace(**given)


def changed_settings(settings: TopicSettings, changed: TopicChanged) -> TopicSettings:
    """Return the settings of a topic with those that the operator has set for it alone."""
    named = {name: getattr(changed, name) for name in TopicSettings._fields}
    return settings._replace(**{name: value for name, value in named.items() if value is not None})


_PARSERS: dict[str, Callable[[str], Any]] = {
    "max_messages": count(1, 10**9),
    "max_bytes": size(1, 2**50),
    "max_age": seconds(0, 10 * 365 * 86400),
    "overflow": choice("reject", "drop-oldest"),
}


def parse_rules(tables: object) -> list[TopicRule]:
    """Parse the `[[topics]]` of a file. Raise `ValueError` that names the row and the key."""
    if not isinstance(tables, list):
        raise ValueError("topics must be an array of tables: [[topics]]")
    return [_rule(number, table) for number, table in enumerate(tables, 1)]


def _rule(number: int, table: Mapping[str, Any]) -> TopicRule:
    where = f"[[topics]] number {number}"
    pattern = table.get("pattern") if isinstance(table, dict) else None
    if not isinstance(pattern, str) or not pattern:
        raise ValueError(f'{where} needs a pattern, such as pattern = "logs.*"')
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key == "pattern":
            continue
        if key not in _PARSERS:
            raise ValueError(f"{where}: unknown setting {key!r}; known are pattern, {', '.join(_PARSERS)}")
        if isinstance(value, bool):
            raise ValueError(f"{where}: {key} = {str(value).lower()} is not a value for it")
        try:
            values[key] = _PARSERS[key](str(value))
        except ValueError as error:
            reason = str(error) if "must" in str(error) or "is not" in str(error) else "is not a number"
            raise ValueError(f"{where}: {key} = {value!r} {reason}") from None
    overflow = values.pop("overflow", None)
    if "max_age" in values:
        values["max_age"] = round(values["max_age"] * 1000)
    drop_oldest = None if overflow is None else overflow == "drop-oldest"
    return TopicRule(re.compile(translate(pattern)).match, drop_oldest=drop_oldest, **values)
