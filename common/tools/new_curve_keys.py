"""`bin/keys curve DIR NAME...`: makes key pairs for brokers and fronts, and never replaces one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import tomlkit

from common.cluster.description import FRONT, is_id, is_process_name
from common.errors import StartError
from common.keys.curve import SECRET, new_pair, read_pair, secret_path

SUMMARY = "make keys for the connections between fronts and brokers"
_HELP: dict[str, Any] = {
    "description": "Write the secret key of each NAME to DIR/NAME.key, and print the public keys as tables for the "
    "cluster description. Existing files are never replaced.",
    "examples": ["keys b0 b1 front"],
}


def add_command(commands: Any) -> None:
    """Add `curve` to the subcommands of `bin/keys`."""
    parser = commands.add_parser("curve", help=SUMMARY, **_HELP)
    parser.add_argument("folder", metavar="DIR", help="directory for the secret keys; created (0700) if it is missing")
    parser.add_argument(
        "names",
        metavar="NAME",
        nargs="*",
        default=[],
        help=f"id of a broker, b0@h1 for its candidate on a host, or {FRONT!r}",
    )
    parser.add_argument(
        "--front",
        action="append",
        default=[],
        metavar="NAME",
        help=f"name of a front with a key of its own: DIR/NAME.key becomes its {FRONT}.key",
    )
    parser.set_defaults(run=run)


def run(arguments: Any) -> int:
    """Make the keys. Raises `StartError`; then only the names before the one in its text have their keys."""
    brokers = [name for name in arguments.names if name != FRONT]
    fronts = [*([FRONT] if FRONT in arguments.names else []), *arguments.front]
    names = [*brokers, *fronts]
    if not names:
        raise StartError("give the names of brokers or fronts")
    for name in names:
        if not (is_id(name) if name in fronts else is_process_name(name)):
            raise StartError(f"{name!r} is not a name: 1 to 63 letters, digits, '-' or '_'; of a candidate b0@h1")
    if len(set(names)) != len(names):
        raise StartError("a name was given twice")
    folder = Path(arguments.folder)
    for name in names:
        path = secret_path(folder, name)
        if path.exists():
            public = read_pair(path).public.decode()
            raise StartError(f"{path}: exists and is not replaced; its public key is {public}")
    try:
        folder.mkdir(0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"{folder}: {error.strerror}") from None
    for broker in dict.fromkeys(name.partition("@")[0] for name in brokers):
        mine = [name for name in brokers if name.partition("@")[0] == broker]
        _print("brokers", {"id": broker} | _keys_of({name: _make(secret_path(folder, name)) for name in mine}))
    for name in fronts:
        _print("fronts", {"name": name, "key": _make(secret_path(folder, name))})
    return 0


def _print(table: str, row: dict[str, Any]) -> None:
    print(tomlkit.dumps({table: [row]}), flush=True)


def _keys_of(made: dict[str, str]) -> dict[str, Any]:
    """Return what the table of a broker has of the keys of its process, or of its candidates."""
    if all("@" not in name for name in made):
        return {"key": next(iter(made.values()))}
    candidates = tomlkit.array().multiline(True)
    for name, public in made.items():
        candidates.append({"host": name.partition("@")[2], "key": public})
    return {"candidates": candidates}


def _make(path: Path) -> str:
    """Write the secret key of a new pair to a new file, and return the public key."""
    pair = new_pair()
    document = tomlkit.document()
    document.add(tomlkit.comment("Secret: whoever can read this key can impersonate its owner."))
    document.add(SECRET, tomlkit.item(pair.secret.decode()))
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(tomlkit.dumps(document))
                file.flush()
                os.fsync(handle)
        except OSError:
            path.unlink()
            raise
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}") from None
    return pair.public.decode()
