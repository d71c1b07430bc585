"""The elements of a header value; separators in quoted strings do not count (RFC 9110, sections 5.6.1 and 5.6.6).

Values come from clients, so the patterns never backtrack: each character is looked at once. A quoted string without an
end extends to the end of the value.
"""

from __future__ import annotations

import re

MAX_ELEMENTS = 100
"""Elements of a list that a client may send."""
_QUOTED = r'"(?:[^"\\]|\\.?)*+"?'
_elements = re.compile(rf'(?:[^,"]|{_QUOTED})++', re.DOTALL).findall
_parameters = re.compile(rf'(?:[^;"]|{_QUOTED})++', re.DOTALL).findall


def is_too_long(value: str) -> bool:
    """Return whether a list has more than `MAX_ELEMENTS`: each costs microseconds, and there is room for thousands."""
    return value.count(",") >= MAX_ELEMENTS


def elements(value: str) -> list[str]:
    """Return what is between commas, without empty elements."""
    return [each for each in map(_strip, _elements(value)) if each]


def parameters(element: str) -> list[tuple[str, str]]:
    """Return what is between semicolons: names in lower case, and values without quotes, "" where there is none.

    The first is what precedes all semicolons, and always present.
    """
    found = [] if element and element[0] != ";" else [("", "")]
    for each in _parameters(element):
        name, _, value = each.partition("=")
        found.append((_strip(name).lower(), _unquoted(_strip(value))))
    return found


def _strip(text: str) -> str:
    return text.strip(" \t")


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    return re.sub(r"\\(.)", r"\1", value[1:].removesuffix('"'), flags=re.DOTALL)
