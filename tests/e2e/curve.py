"""Keys and descriptions of clusters over TCP with CURVE, made as an operator makes them."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from common.keys.curve import KeyPair, read_pair, secret_path

ROOT = Path(__file__).resolve().parents[2]


def make_keys(folder: Path, *names: str) -> dict[str, str]:
    """Run `bin/keys curve` as its module. Return the public keys by name."""
    argv = [sys.executable, "-m", "common.tools.keys", "curve", str(folder), *names]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    tables = tomllib.loads(done.stdout)
    return {row.get("id") or row["name"]: row["key"] for rows in tables.values() for row in rows}


def pair_of(folder: Path, name: str) -> KeyPair:
    """Return the keys in a file of `make_keys`."""
    return read_pair(secret_path(folder, name))


def describe(brokers: Mapping[str, tuple[str, str]], fronts: Mapping[str, str], epoch: int = 1) -> str:
    """Return a description: endpoints and keys of brokers by id, keys of fronts by name."""
    rows = [f'[cluster]\nname = "fanmail"\nepoch = {epoch}\n']
    rows += [f'[[brokers]]\nid = "{name}"\nendpoint = "{at}"\nkey = "{key}"\n' for name, (at, key) in brokers.items()]
    rows += [f'[[fronts]]\nname = "{name}"\nkey = "{key}"\n' for name, key in fronts.items()]
    return "\n".join(rows)


def put(path: Path, text: str) -> None:
    """Replace a file atomically."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


def options_for(pair: KeyPair, server_key: str) -> dict[str, Any]:
    """Return the options of a DEALER that connects with these keys."""
    return {"CURVE_SERVERKEY": server_key.encode(), "CURVE_PUBLICKEY": pair.public, "CURVE_SECRETKEY": pair.secret}


class Tap:
    """A relay between a front and a broker that records what passes: `sent` by the front, `returned` by the broker."""

    def __init__(self, broker: tuple[str, int]) -> None:
        self._broker = broker
        self.sent = bytearray()
        self.returned = bytearray()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._server.getsockname()[1]}"
        self._open: list[socket.socket] = [self._server]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                front, _ = self._server.accept()
                try:
                    broker = socket.create_connection(self._broker)
                except ConnectionRefusedError:  # it does not listen yet; the front comes again
                    front.close()
                    continue
                self._open += [front, broker]
                for source, target, kept in ((front, broker, self.sent), (broker, front, self.returned)):
                    threading.Thread(target=self._pass_on, args=(source, target, kept), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, kept: bytearray) -> None:
        with suppress(OSError):
            while part := source.recv(65536):
                kept += part
                target.sendall(part)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
