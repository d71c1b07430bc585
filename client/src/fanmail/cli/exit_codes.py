"""The exit codes of the command."""

from __future__ import annotations

from fanmail import errors

OK, FAILED, USAGE, NOTHING, NOT_FOUND, REFUSED, UNAVAILABLE = 0, 1, 2, 3, 4, 5, 6
GONE = 3
"""`fanmail forward`: the target answered 410."""
CANNOT_RUN = 127
"""`fanmail work`: there is no such command, as in shells."""
INTERRUPTED = 130
EXIT_CODES = """\
\b
Exit codes: 0 success; 1 failure; 2 wrong usage or a bad request; 3 nothing found;
4 no such subscription, topic, delayed publish or broker; 5 refused: a limit or missing rights;
6 unavailable, or the outcome is unknown; 130 interrupted.
"""
_CODES: tuple[tuple[type[errors.FanmailError], int], ...] = (
    (errors.NotFound, NOT_FOUND),
    (errors.Refused, REFUSED),
    (errors.Denied, REFUSED),
    (errors.TooLarge, REFUSED),
    (errors.KeyReused, FAILED),
    (errors.BadRequest, USAGE),
    (errors.Unavailable, UNAVAILABLE),
    (errors.OutcomeUnknown, UNAVAILABLE),
)


def exit_code(error: errors.FanmailError) -> int:
    """Return the exit code for an error of the client."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)
