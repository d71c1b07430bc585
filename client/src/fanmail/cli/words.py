"""Numbers, times and foreign text as a person reads them."""

from __future__ import annotations

_UNITS = ("", "k", "M", "G", "T")
CUT = 200
"""Characters of a body in a table."""


def age(seconds: float) -> str:
    """A span in two units; "" for none.

    >>> age(0), age(0.4), age(75), age(7322), age(200000)
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


def short(number: float) -> str:
    """A number in at most six characters.

    >>> short(0), short(9999), short(12345), short(999_950), short(7_500_000_000)
    ('0', '9,999', '12.3k', '1.0M', '7.5G')
    """
    if number < 10_000:
        return f"{number:,.0f}"
    unit = 0
    while number >= 999.5 and unit < len(_UNITS) - 1:
        number, unit = number / 1000, unit + 1
    return f"{number:.{1 if number < 99.95 else 0}f}{_UNITS[unit]}"


def rate(number: float | None) -> str:
    """Something a second; "-" where nobody knows yet.

    >>> rate(None), rate(0), rate(2.34), rate(1234.5)
    ('-', '0', '2.3', '1,234')
    """
    return "-" if number is None else f"{number:.1f}" if 0 < number < 10 else short(number)


def printable(text: str) -> str:
    """Text of strangers on one line that moves no cursor and changes no colour: what is not printable is escaped.

    >>> printable("a\\nb\\x1b[31m ü")
    'a\\\\nb\\\\x1b[31m ü'
    """
    return text if text.isprintable() else "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


def body_text(body: bytes) -> str:
    """The beginning of a body for a cell of a table.

    >>> body_text(b"hello"), body_text(b"\\xff")
    ('hello', '(1 bytes that are no text)')
    """
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return f"({len(body):,} bytes that are no text)"
    return printable(text[:CUT]) + ("..." if len(text) > CUT else "")
