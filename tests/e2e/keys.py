"""API keys for tests: the file of a front, and the headers with which its keys are sent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from common.keys.api_keys import digest

Headers = dict[str, str]


def token(key_id: str, letter: str = "s") -> str:
    """Return the token of a key; another letter means another secret."""
    return f"fm_{key_id}_{letter * 43}"


def bearer(key_id: str, letter: str = "s") -> Headers:
    """Return the header with the token of a key."""
    return {"Authorization": f"Bearer {token(key_id, letter)}"}


def write_keys(path: Path, keys: Mapping[str, str]) -> Path:
    """Write a file with these keys atomically. The text of each is what it has besides id and hash."""
    new = path.with_suffix(".new")
    blocks = [
        f'[[keys]]\nid = "{key_id}"\nhash = "sha256:{digest(token(key_id)).hex()}"\n{members}\n'
        for key_id, members in keys.items()
    ]
    new.write_text("\n".join(blocks))
    new.replace(path)
    return path
