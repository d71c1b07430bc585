"""How records are encoded, in replicated logs and where a slot is sent to another broker."""

from __future__ import annotations

from msgspec import Struct


class Packed(Struct, gc=False, array_like=True, forbid_unknown_fields=True):
    """Encoded as an array. Tags and order of fields are the format of replicated logs: change none, add at the end."""
