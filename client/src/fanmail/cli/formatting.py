"""Numbers, durations and untrusted text, formatted for humans."""

from __future__ import annotations

_UNITS = ("", "k", "M", "G", "T")
MAX_BODY_CHARACTERS = 200
"""The part of a body that a table shows."""


def format_duration(seconds: float) -> str:
    """Return a duration in its two largest units, or "" for 0.

    >>> format_duration(0), format_duration(0.4), format_duration(75), format_duration(7322), format_duration(200000)
    ('', '0.4 s', '1 min 15 s', '2 h 2 min', '2 d 7 h')
    """
    if seconds <= 0:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for name, size, lesser, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // part} {lesser}"
    return f"{whole} s"


def format_number(number: float) -> str:
    """Return a number in at most six characters.

    >>> format_number(0), format_number(9999), format_number(12345), format_number(999_950), format_number(7.5e9)
    ('0', '9,999', '12.3k', '1.0M', '7.5G')
    """
    if number < 10_000:
        return f"{number:,.0f}"
    unit = 0
    while number >= 999.5 and unit < len(_UNITS) - 1:
        number, unit = number / 1000, unit + 1
    return f"{number:.{1 if number < 99.95 else 0}f}{_UNITS[unit]}"


def format_rate(number: float | None) -> str:
    """Return a rate per second, or "-" if it is unknown.

    >>> format_rate(None), format_rate(0), format_rate(2.34), format_rate(1234.5)
    ('-', '0', '2.3', '1,234')
    """
    return "-" if number is None else f"{number:.1f}" if 0 < number < 10 else format_number(number)


def printable(text: str) -> str:
    r"""Return untrusted text on one line, with unprintable characters escaped, as they could control the terminal.

    >>> printable("a\nb\x1b[31m ü")
    'a\\nb\\x1b[31m ü'
    """
    return text if text.isprintable() else "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


def format_body(body: bytes) -> str:
    r"""Return the beginning of a body for a cell of a table.

    >>> format_body(b"hello"), format_body(b"\xff")
    ('hello', '(1 bytes, not text)')
    """
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return f"({len(body):,} bytes, not text)"
    return printable(text[:MAX_BODY_CHARACTERS]) + ("..." if len(text) > MAX_BODY_CHARACTERS else "")
