"""API keys, and the TOML file with them. It has hashes of tokens, never tokens.

[[keys]]
id = "orders-2026"                 # letters, digits and -; names the key in logs
subject = "orders"                 # what {sub} stands for; default: the id
hash = "sha256:<64 hex digits>"    # of the whole token
expires = 2027-01-01T00:00:00Z     # optional
allow = [{rights = ["publish"], topic = "orders.*"}, {rights = ["subscribe", "consume"], topic = "*", user = "{sub}"}]
deny = [{rights = ["publish"], topic = "orders.internal"}]

A token is `fm_<id>_<secret>`. The secret is 256 random bits, which cannot be guessed, so that a plain hash is
sufficient: a slow hash would only slow down every request.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import FanmailError, StartError
from common.keys.access_rules import Rule, parse_rule
from common.names import MAX_NAME, check_name
from common.toml_file import read_toml

TOKEN = re.compile(r"fm_([A-Za-z0-9-]{1,63})_([A-Za-z0-9_-]{43,128})").fullmatch
"""Matches a token; the groups are id and secret."""
_ID = re.compile(r"[A-Za-z0-9-]{1,63}").fullmatch
_HASH = re.compile(r"sha256:([0-9A-Fa-f]{64})").fullmatch
_MEMBERS = ("id", "subject", "hash", "expires", "allow", "deny")


class ApiKey(NamedTuple):
    """One key of the file."""

    id: str
    subject: str
    digest: bytes
    """SHA-256 of the token."""
    expires: int | None
    """Milliseconds since 1970 from which the key is refused; None: never."""
    allow: tuple[Rule, ...]
    deny: tuple[Rule, ...]

    def may(self, right: str, topic: str = "", user: str = "") -> bool:
        """Return whether a rule allows this and none denies it."""
        if any(rule.covers(right, topic, user) for rule in self.deny):
            return False
        return any(rule.covers(right, topic, user) for rule in self.allow)


def digest(token: str) -> bytes:
    """Return the hash of a token as it is in the file, as bytes."""
    return hashlib.sha256(token.encode()).digest()


def read_keys(path: str | Path) -> dict[str, ApiKey]:
    """Return the keys of a file by id.

    Raises `StartError` with one line: file, key and member. A file without keys is an error too.
    """
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}") from None
    if mode & stat.S_IWOTH:
        raise StartError(f"{path}: is writable by other users (chmod 600)")
    try:
        keys = parse_keys(read_toml(path))
    except ValueError as error:
        raise StartError(f"{path}: {error}") from None
    if not keys:
        raise StartError(f"{path}: has no [[keys]]; bin/keys api makes one")
    return keys


def parse_keys(document: Mapping[str, Any]) -> dict[str, ApiKey]:
    """Return the keys of parsed tables by id. Raises `ValueError` with the key and the member."""
    for name in document:
        if name != "keys":
            raise ValueError(f"unknown table {name!r}; known is [[keys]]")
    tables = document.get("keys", [])
    if not isinstance(tables, list):
        raise ValueError("keys must be an array of tables: [[keys]]")
    keys: dict[str, ApiKey] = {}
    for number, table in enumerate(tables, 1):
        key = _parse_key(number, table)
        if key.id in keys:
            raise ValueError(f'key "{key.id}" is there twice')
        keys[key.id] = key
    return keys


def _parse_key(number: int, table: Any) -> ApiKey:
    if not isinstance(table, dict):
        raise ValueError(f"[[keys]] number {number} must be a table")
    key_id = table.get("id")
    if not isinstance(key_id, str) or not _ID(key_id):
        raise ValueError(f"[[keys]] number {number}: id must be 1 to 63 letters, digits and -")
    try:
        for member in table:
            if member not in _MEMBERS:
                raise ValueError(f"unknown member {member!r}; known are {', '.join(_MEMBERS)}")
        subject = _subject(table.get("subject", key_id))
        return ApiKey(
            key_id,
            subject,
            _digest(table.get("hash")),
            _expires(table.get("expires")),
            _rules("allow", table.get("allow", []), subject),
            _rules("deny", table.get("deny", []), subject),
        )
    except ValueError as error:
        raise ValueError(f'key "{key_id}": {error}') from None


def _subject(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("subject must be a string")
    try:
        check_name(value.encode(), "subject")
    except FanmailError as error:
        raise ValueError(error.detail) from None
    if len(value.encode()) > MAX_NAME:
        raise ValueError(f"subject has over {MAX_NAME} bytes")
    return value


def _digest(value: Any) -> bytes:
    found = _HASH(value) if isinstance(value, str) else None
    if not found:
        raise ValueError('hash must be "sha256:" and 64 hexadecimal digits')
    return bytes.fromhex(found[1])


def _expires(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError("expires must be a time with its zone and without quotes, such as 2027-01-01T00:00:00Z")
    return round(value.timestamp() * 1000)


def _rules(member: str, tables: Any, subject: str) -> tuple[Rule, ...]:
    if not isinstance(tables, list):
        raise ValueError(f"{member} must be a list of rules")
    rules = []
    for number, table in enumerate(tables, 1):
        try:
            rules.append(parse_rule(table, subject, allows=member == "allow"))
        except ValueError as error:
            raise ValueError(f"{member} rule {number} {error}") from None
    return tuple(rules)
