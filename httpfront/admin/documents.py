"""JSON forms of the admin API: names, ages, settings and cursors. No I/O."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from common.protocol import ops
from httpfront.formats.params import number

MOST = 1000
"""Maximum entries of a page."""


def text(name: bytes) -> str:
    """Return a name for JSON; fronts accept only UTF-8."""
    return name.decode("utf-8", "replace")


def read_cursor(value: str) -> bytes:
    """Return the name in a cursor. Raises `ValueError` for a text that is not a cursor."""
    try:
        return base64.b64decode(value.encode("ascii") + b"=" * (-len(value) % 4), b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError("must be the cursor of an earlier page") from None


def cursor_of(name: bytes) -> str:
    """Return the cursor of the page after this name."""
    return base64.urlsafe_b64encode(name).decode().rstrip("=")


PAGE = {"limit": number(MOST), "cursor": read_cursor}
"""Parameters of every listing."""
USUAL = 100
"""Default entries of a page."""


def topic_members(row: ops.TopicRow, broker: str) -> dict[str, Any]:
    """Return the members of a topic in a listing."""
    return {
        "topic": text(row.name),
        "broker": broker,
        "epoch": row.epoch,
        "messages": row.messages,
        "bytes": row.size,
        "subscriptions": row.subscriptions,
        "oldest_age": row.oldest / 1000,
    }


def settings_members(settings: ops.TopicSettings) -> dict[str, Any]:
    """Return settings in the form of PATCH, without those that are not set."""
    members: dict[str, Any] = {"max_messages": settings.max_messages, "max_bytes": settings.max_bytes}
    if settings.max_age is not None:
        members["max_age"] = settings.max_age / 1000
    if settings.drop_oldest is not None:
        members["overflow"] = "drop-oldest" if settings.drop_oldest else "reject"
    return {name: value for name, value in members.items() if value is not None}


def user_members(row: ops.UserRow) -> dict[str, Any]:
    """Return the members of a subscription."""
    return {
        "user": text(row.user),
        "pending": row.pending,
        "leased": row.leased,
        "dead": row.dead,
        "next_seq": row.next_seq,
        "oldest_age": row.oldest / 1000,
        "expires_after": row.expires_after / 1e6,
        "max_deliveries": row.max_deliveries,
    }
