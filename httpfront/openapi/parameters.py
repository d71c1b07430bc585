"""Parameters in the OpenAPI description, with the ranges of the parsers."""

from __future__ import annotations

from typing import Any, NamedTuple

from httpfront.formats.batch import FORMATS
from httpfront.formats.idempotency import HEADER, KEY
from httpfront.formats.limits import MAX_DELIVERIES, MessageLimits
from httpfront.formats.params import CURSOR, MAX_DIGITS, YEAR_S
from httpfront.formats.receipts import MAX_LEASE_S, RECEIPT
from httpfront.formats.stream_parameters import BY_CLIENT, DEFAULT_CONFIRM_S, LINES, MAX_CONFIRM_S, SSE
from httpfront.openapi.answers import Json, pattern, ref

RECEIPT_LINES = pattern(f"({RECEIPT}\\r?\\n)*{RECEIPT}(\\r?\\n)?")
"""Receipts, one per line; the end of the last line is optional."""
_CURSOR = pattern(f"0|{CURSOR}") | {"examples": ["0"]}


class Bounds(NamedTuple):
    """The settings that the description contains."""

    limits: MessageLimits
    max_name: int
    """Bytes."""
    max_wait: float
    """Seconds."""


def parameters(bounds: Bounds) -> Json:
    """Return components: every parameter.

    A query parameter outside its range is refused, except where the text says "cut".
    """
    return _of_path(bounds.max_name) | _of_reading(bounds) | _of_writing() | _of_the_head()


def _of_path(max_name: int) -> Json:
    return {
        "topic": _parameter("path", "topic", "The topic.", _name(max_name)),
        "user": _parameter("path", "user", "The user.", _name(max_name)),
        "receipt": _parameter("path", "receipt", "The `Msg-Receipt` of a lease.", ref("schemas", "Receipt")),
    }


def _name(max_name: int) -> Json:
    """Return the schema of a name. Its length counts in bytes of UTF-8, which a schema cannot express."""
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": max_name,
        "pattern": r"^[^\u0000-\u001f\u007f-\u009f]+$",
        "not": {"enum": [".", ".."]},
        "description": f"1 to {max_name} bytes of UTF-8, percent-encoded once; no control characters.",
    }


def _of_reading(bounds: Bounds) -> Json:
    most = f"{bounds.max_wait:g}"
    return {
        "after": _query("after", "Acknowledges everything up to this id; 0: nothing.", _CURSOR),
        "wait": _query("wait", f"Seconds to wait for a message; cut to {most}.", _seconds(0)),
        "max": _query("max", f"Most messages to return; cut to {bounds.limits.fetch}.", _whole(1)),
        "lease": _query(
            "lease", "Lease the message for this many seconds in place of taking it.", _seconds(1, MAX_LEASE_S)
        ),
        "stream": _query(
            "stream",
            "A stream; not with `wait`, `max` and `lease`.",
            {"type": "string", "enum": [SSE, LINES]},
        ),
        "confirm": _query(
            "confirm",
            f"Of a stream: when a message is done. `client`: when it is acknowledged; seconds after its delivery, at "
            f"most {MAX_CONFIRM_S:g}, default {DEFAULT_CONFIRM_S:g}; 0: when it is written.",
            {"anyOf": [{"const": BY_CLIENT}, _seconds(0, round(MAX_CONFIRM_S))]},
        ),
        "data": _query(
            "data", "Of server-sent events: `text` is the body alone.", {"type": "string", "enum": ["json", "text"]}
        ),
        "letters_after": _query("after", "Only letters after this id; 0: from the first.", _CURSOR),
        "letters": _query("max", f"Most letters to return; cut to {bounds.limits.fetch}.", _whole(1)),
    }


def _of_writing() -> Json:
    often = "Deliveries under a lease after which a message becomes a dead letter; 0: no limit."
    never = f"Seconds without a request after which the user is unsubscribed, 1 to {YEAR_S}; 0: never."
    return {
        "batch": _query("batch", "The body is a batch in this format.", {"type": "string", "enum": list(FORMATS)}),
        "ttl": _query("ttl", "Seconds after which the message is not delivered any more.", _seconds(None, YEAR_S)),
        "delay": _query("delay", "Seconds until the message is published.", _seconds(0, YEAR_S)),
        "expires_after": _query("expires_after", never, _zero_or(_seconds(1, YEAR_S))),
        "max_deliveries": _query("max_deliveries", often, _whole(0, MAX_DELIVERIES)),
        "extend": _query(
            "lease", "Seconds that the lease lasts from now; 0: return the message.", _zero_or(_seconds(1, MAX_LEASE_S))
        )
        | {"required": True},
        "return_delay": _query(
            "delay", "With `lease=0`: seconds until it is delivered again.", _seconds(0, MAX_LEASE_S)
        ),
        "strict": _query("strict", "1: every broker must answer.", {"type": "integer", "enum": [0, 1]}),
    }


def _of_the_head() -> Json:
    key = pattern(KEY) | {"not": {"const": '""'}}
    return {
        "idempotency_key": _parameter("header", HEADER, "A repeat with the same key publishes nothing.", key),
        "last_event_id": _parameter(
            "header", "Last-Event-ID", "As `after`; 400 where both are given and differ.", _CURSOR
        ),
        "msg_encoding": _parameter(
            "header", "Msg-Encoding", "For a batch: Content-Encoding of each message.", {"type": "string"}
        ),
        "prefer": _parameter(
            "header", "Prefer", "`wait=20`, where the parameter `wait` is absent.", {"type": "string"}
        ),
        "request_id": _parameter(
            "header", "X-Request-Id", "Echoed where it is 1 to 128 visible ASCII characters.", {"type": "string"}
        ),
    }


def _zero_or(schema: Json) -> Json:
    return {"anyOf": [{"const": 0}, schema]}


def _seconds(least: int | None, most: int | None = None) -> Json:
    """Return the schema of seconds in plain decimal notation: parsers accept no exponents. `least` None: above 0."""
    low: Json = {"exclusiveMinimum": 0} if least is None else {"minimum": least}
    high: Json = {"exclusiveMaximum": 10**MAX_DIGITS} if most is None else {"maximum": most}
    return {"type": "number", **low, **high, "multipleOf": 1e-6}


def _whole(least: int, most: int = 10**MAX_DIGITS - 1) -> Json:
    return {"type": "integer", "minimum": least, "maximum": most}


def _query(name: str, text: str, schema: Json) -> Json:
    return _parameter("query", name, text, schema)


def _parameter(where: str, name: str, text: str, schema: Json) -> dict[str, Any]:
    needed = {"required": True} if where == "path" else {}
    return {"name": name, "in": where, "description": text, **needed, "schema": schema}
