"""`bin/keys api`: makes an API key. Its token is shown once; only a hash of it is kept."""

from __future__ import annotations

import argparse
import fcntl
import os
import secrets
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit import items

from common.clock import Clock, SystemClock
from common.errors import StartError
from common.keys.api_keys import digest, parse_keys
from common.toml_file import parse_toml

_HELP: dict[str, Any] = {
    "description": "Make an API key. Its token goes to standard output, once. The entry for the key file goes to "
    "standard error or, with --file, to the end of that file.\n\nA RULE is rights, then patterns of names: 'publish "
    "topic=orders.*', 'subscribe,consume topic=* user={sub}', 'admin'. The rights publish, subscribe and consume need "
    "topic=, the last two also user=; admin and metrics have no patterns.",
    "examples": ["shop --allow 'publish topic=orders.*' --file api-keys.toml"],
}


def add_command(commands: Any) -> None:
    """Add `api` to the subcommands of `bin/keys`."""
    parser = commands.add_parser("api", help="make an API key for the fronts", **_HELP)
    parser.add_argument("id", metavar="ID", help="name of the key in logs: letters, digits and -")
    parser.add_argument("--subject", help="what {sub} stands for in rules [default: the ID]")
    parser.add_argument("--expires", metavar="DATE", help="2027-01-01, or 2027-01-01T12:00:00Z [default: never]")
    parser.add_argument("--allow", metavar="RULE", action="append", default=[], help="may be repeated")
    parser.add_argument("--deny", metavar="RULE", action="append", default=[], help="takes precedence over --allow")
    parser.add_argument("--file", metavar="FILE", help="the fronts' --api-keys-file; created if it is missing")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Make one key. Raises `StartError`; then nothing is changed."""
    token = f"fm_{options.id}_{secrets.token_urlsafe(32)}"
    key = _key(options, digest(token).hex(), SystemClock())
    text = _with_key("", key)
    _check(text, "")
    if options.file:
        _append(Path(options.file), key)
        print(f"added to {options.file}: send the fronts SIGHUP. The token, shown only once:", file=sys.stderr)
    else:
        print(text, file=sys.stderr)
    print(token, flush=True)
    return 0


def _key(options: argparse.Namespace, hash_: str, clock: Clock) -> dict[str, Any]:
    """Return the members of a key, in the order in which they are written. Raises `StartError`."""
    key: dict[str, Any] = {"id": options.id}
    if options.subject is not None:
        key["subject"] = options.subject
    key["hash"] = f"sha256:{hash_}"
    if options.expires is not None:
        key["expires"] = _date(options.expires, clock)
    for member in ("allow", "deny"):
        rules = tomlkit.array()
        for text in getattr(options, member):
            rules.append(_inline(_rule(member, text)))
        if rules:
            key[member] = rules
    return key


def _rule(member: str, text: str) -> dict[str, Any]:
    """Parse a rule such as `subscribe,consume topic=*`. Raises `StartError` for what has not this form."""
    try:
        rights, *patterns = shlex.split(text)
        given = dict(each.split("=", 1) for each in patterns)
    except ValueError:
        raise StartError(f"--{member} {text!r} is not a rule such as 'publish topic=orders.*'") from None
    if len(given) < len(patterns):
        raise StartError(f"--{member} {text!r} names a pattern twice")
    return {"rights": rights.split(","), **given}


def _date(text: str, clock: Clock) -> datetime:
    """Parse a time to come. Raises `StartError`."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise StartError(f"--expires {text!r} is not a date such as 2027-01-01 or 2027-01-01T12:00:00Z") from None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    if at.timestamp() * 1000 <= clock.now().wall:
        raise StartError(f"--expires {text} has passed")
    return at.astimezone(UTC).replace(microsecond=0)


def _inline(members: dict[str, Any]) -> items.InlineTable:
    table = tomlkit.inline_table()
    table.update(members)
    return table


def _with_key(text: str, key: dict[str, Any]) -> str:
    """Return the text of a key file with another key at its end; all that was there stays as it is."""
    document = tomlkit.parse(f"{text.rstrip()}\n\n" if text.strip() else "")
    keys = document.get("keys")
    if isinstance(keys, items.Array):  # keys = [{...}]
        keys.append(_inline(key))
        return tomlkit.dumps(document)
    table = tomlkit.table()
    table.update(key)
    if keys is None:
        keys = tomlkit.aot()
        keys.append(table)
        document.append("keys", keys)
    else:
        keys.append(table)
    return tomlkit.dumps(document)


def _check(text: str, where: str) -> None:
    """Raise `StartError` where fronts could not use this text as their file."""
    try:
        text.encode()
        parse_keys(parse_toml(text))
    except ValueError as error:
        raise StartError(f"{where}{error}") from None


def _append(path: Path, key: dict[str, Any]) -> None:
    """Add a key at the end of a file, atomically: a reader sees the old file or the new one."""
    path = path.resolve()
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)  # two that append at a time would each lose the other's key
            before = path.read_text(encoding="utf-8") if path.exists() else ""
            _check(before, f"{path}: ")
            text = _with_key(before, key)
            _check(text, f"{path}: ")
            _replace(path, text)
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise StartError(f"{path}: not TOML: {error}") from None


def _replace(path: Path, text: str) -> None:
    """Replace a file, durably, keeping its mode and owner; a new one has mode 0600."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w", encoding="utf-8") as out:
        try:
            if path.exists():
                status = path.stat()
                if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(out.fileno(), status.st_uid, status.st_gid)
                os.fchmod(out.fileno(), status.st_mode & 0o777)
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
            new.replace(path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
