"""How the admin API shows names, ages and settings, and its cursors. No I/O here."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from common.protocol import ops
from httpfront.formats.params import number

MOST = 1000
"""Entries of a page."""


def text(name: bytes) -> str:
    """A name for JSON; fronts take none that is not UTF-8."""
    return name.decode("utf-8", "replace")


def read_cursor(value: str) -> bytes:
    """The name in a cursor. `ValueError` for what is none of ours."""
    try:
        return base64.b64decode(value.encode("ascii") + b"=" * (-len(value) % 4), b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError("must be the cursor of a page before") from None


def cursor_of(name: bytes) -> str:
    """The cursor of the page behind this name."""
    return base64.urlsafe_b64encode(name).decode().rstrip("=")


PAGE = {"limit": number(MOST), "cursor": read_cursor}
"""Parameters of every listing."""
USUAL = 100
"""Entries of a page where nothing else is asked for."""


def topic_members(row: ops.TopicRow, broker: str) -> dict[str, Any]:
    """A topic in a listing."""
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
    """Settings as they are given to PATCH; without those that are not set."""
    members: dict[str, Any] = {"max_messages": settings.max_messages, "max_bytes": settings.max_bytes}
    if settings.max_age is not None:
        members["max_age"] = settings.max_age / 1000
    if settings.drop_oldest is not None:
        members["overflow"] = "drop-oldest" if settings.drop_oldest else "reject"
    return {name: value for name, value in members.items() if value is not None}


def user_members(row: ops.UserRow) -> dict[str, Any]:
    """A subscription."""
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
