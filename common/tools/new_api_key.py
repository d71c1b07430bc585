"""`bin/keys api`: makes an API key, whose token is shown once and of which only the hash is kept."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import secrets
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common.clock import Clock, SystemClock
from common.errors import StartError
from common.keys.api_keys import digest, parse_keys
from common.toml_file import parse_toml

_BARE = re.compile(r"[A-Za-z0-9_-]+").fullmatch
"""A member's name that TOML takes without quotes."""
_EXAMPLE = """\
a rule is the rights, then patterns of names: 'publish topic=orders.*', 'subscribe,consume topic=* user={sub}', 'admin'.
Rights: publish and subscribe and consume, which go with topic=, the last two with user= as well; admin, metrics."""


def add_command(commands: Any) -> None:
    """Adds `api` to the subcommands of `bin/keys`."""
    parser = commands.add_parser(
        "api",
        help="makes an API key of the fronts",
        description="Makes an API key. Its token goes to standard output, once; what the file of keys needs, to "
        "standard error or, with --file, behind what is in that file.",
        epilog=_EXAMPLE,
        allow_abbrev=False,
    )
    parser.add_argument("id", metavar="ID", help="names the key in logs: letters, digits and -")
    parser.add_argument("--subject", help="what {sub} stands for in rules [default the ID]")
    parser.add_argument("--expires", metavar="DATE", help="2027-01-01, or 2027-01-01T12:00:00Z [default never]")
    parser.add_argument("--allow", metavar="RULE", action="append", default=[], help="may be given several times")
    parser.add_argument("--deny", metavar="RULE", action="append", default=[], help="goes before what is allowed")
    parser.add_argument("--file", metavar="FILE", help="the fronts' --api-keys-file; made where it is missing")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Makes one key. Raises `StartError`; then nothing is changed."""
    token = f"fm_{options.id}_{secrets.token_urlsafe(32)}"
    block = _block(options, digest(token).hex(), SystemClock())
    _check(block, "")
    if options.file:
        _append(Path(options.file), block)
        print(f"{options.file} has it now: send the fronts SIGHUP. The token, which is shown once:", file=sys.stderr)
    else:
        print(block, file=sys.stderr)
    print(token, flush=True)
    return 0


def _block(options: argparse.Namespace, hash_: str, clock: Clock) -> str:
    lines = ["[[keys]]", f"id = {_quoted(options.id)}"]
    if options.subject is not None:
        lines.append(f"subject = {_quoted(options.subject)}")
    lines.append(f'hash = "sha256:{hash_}"')
    if options.expires is not None:
        lines.append(f"expires = {_date(options.expires, clock)}")
    for member in ("allow", "deny"):
        rules = [_rule(member, text) for text in getattr(options, member)]
        if rules:
            lines.append(f"{member} = [{', '.join(rules)}]")
    return "\n".join(lines) + "\n"


def _rule(member: str, text: str) -> str:
    """`subscribe,consume topic=*` as TOML. Raises `StartError` for what is no rule at all."""
    try:
        rights, *patterns = shlex.split(text)
        given = dict(each.split("=", 1) for each in patterns)
    except ValueError:
        raise StartError(f"--{member} {text!r} is not a rule such as 'publish topic=orders.*'") from None
    if len(given) < len(patterns):
        raise StartError(f"--{member} {text!r} names a pattern twice")
    listed = ", ".join(map(_quoted, rights.split(",")))
    named = [f"{name if _BARE(name) else _quoted(name)} = {_quoted(value)}" for name, value in given.items()]
    return "{" + ", ".join([f"rights = [{listed}]", *named]) + "}"


def _date(text: str, clock: Clock) -> str:
    """As TOML has it. Raises `StartError` where it has passed."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise StartError(f"--expires {text!r} is not a date such as 2027-01-01 or 2027-01-01T12:00:00Z") from None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    if at.timestamp() * 1000 <= clock.now().wall:
        raise StartError(f"--expires {text} has passed")
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _quoted(text: str) -> str:
    """A TOML string; JSON's escapes are among TOML's."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _check(text: str, where: str) -> None:
    """Raises `StartError` where fronts could not use this as their file."""
    try:
        parse_keys(parse_toml(text))
    except ValueError as error:
        raise StartError(f"{where}{error}") from None


def _append(path: Path, block: str) -> None:
    """Puts the block behind what is in the file, all at once: whoever reads sees the old file or the new one."""
    path = path.resolve()
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)  # two that append would each lose the other's
            before = path.read_text(encoding="utf-8") if path.exists() else ""
            text = f"{before.rstrip()}\n\n{block}" if before.strip() else block
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
    """The file anew, with the mode and owner of the one before, or 0600."""
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
