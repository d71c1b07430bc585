"""The cluster description: a TOML file with the brokers, their endpoints and keys, and the fronts that may connect."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from common.cluster.slot_table import parse_table
from common.cluster.slots import SLOTS, BrokerAddress, ClusterMap
from common.config import Settings
from common.errors import StartError
from common.toml_file import read_toml

DESCRIPTION = "cluster.toml"
"""File name of the cluster description in the run directory."""
MAX_IPC_PATH = 107
"""Maximum bytes of the path of a Unix socket (`sun_path` without its NUL, unix(7))."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}").fullmatch
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}").fullmatch
CANDIDATES = 2
"""Processes of a broker on a replicated log."""
_TCP = re.compile(r"tcp://(?P<host>\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):(?P<port>[0-9]{1,5})").fullmatch
_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
FRONT = "front"
"""Name of the file with the secret key of fronts and tools. A broker with a key cannot have this id."""


def load_cluster(path: str | Path, *, insecure: bool = False) -> ClusterMap:
    """Return the map of a description file. Raises `StartError` with one line."""
    tables = read_toml(path)
    try:
        return parse_cluster(tables, insecure=insecure)
    except ValueError as error:
        raise StartError(f"{path}: {error}") from None


def parse_cluster(tables: Mapping[str, Any], *, insecure: bool = False) -> ClusterMap:
    """Return the map of a parsed description. Raises `ValueError` that names the mistake."""
    cluster = tables.get("cluster", {})
    if not isinstance(cluster, dict) or not isinstance(cluster.get("pins", {}), dict):
        raise ValueError("cluster and cluster.pins must be tables")
    found = [_addresses(row) for row in _rows(tables, "brokers")]
    if not found:
        raise ValueError("there is no [[brokers]] table")
    brokers, ids = [each for candidates in found for each in candidates], [each[0].id for each in found]
    for kind, values in (("id", ids), ("endpoint", [broker.endpoint for broker in brokers])):
        if len(set(values)) != len(values):
            raise ValueError(f"two brokers have the same {kind}")
    if len({bool(broker.host) for broker in brokers}) > 1:
        raise ValueError("either every broker has candidates, or none")
    for broker in brokers:
        check_endpoint(broker.endpoint, insecure=insecure, key=broker.key)
    fronts = _fronts(_rows(tables, "fronts"))
    _check_keys(brokers, fronts)
    name, epoch = cluster.get("name", "fanmail"), cluster.get("epoch", 1)
    if not isinstance(name, str) or not _ID(name):
        raise ValueError("cluster.name must be 1 to 63 letters, digits, '-' or '_'")
    if type(epoch) is not int or not 1 <= epoch < 2**62:
        raise ValueError("cluster.epoch must be a whole number from 1")
    pins, slots = _pins(cluster.get("pins", {}), ids), cluster.get("slots")
    if slots is None:
        return ClusterMap(name, epoch, brokers, pins, fronts)
    if pins or not isinstance(slots, dict):
        raise ValueError("cluster.slots must be a table, without cluster.pins")
    return ClusterMap(name, epoch, brokers, {}, fronts, parse_table(slots, ids))


def _rows(tables: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    rows = tables.get(name, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{name} must be tables: [[{name}]]")
    return rows


def _addresses(row: Mapping[str, Any]) -> list[BrokerAddress]:
    """Return the only process of a broker, or its candidates."""
    broker_id = row.get("id")
    if not isinstance(broker_id, str) or not _ID(broker_id):
        raise ValueError("a broker's id must be 1 to 63 letters, digits, '-' or '_'")
    if "candidates" not in row:
        return [_address(broker_id, row, f"broker {broker_id!r}")]
    candidates = row["candidates"]
    if not isinstance(candidates, list) or not all(isinstance(each, dict) for each in candidates):
        raise ValueError(f"broker {broker_id!r}: candidates must be tables: [{{host = ..., endpoint = ...}}, ...]")
    if "endpoint" in row or "key" in row:
        raise ValueError(f"broker {broker_id!r}: endpoint and key belong to each of its candidates")
    found = []
    for each in candidates:
        host = each.get("host")
        if not isinstance(host, str) or not _HOST(host):
            raise ValueError(f"broker {broker_id!r}: a host must be 1 to 63 letters, digits, '.', '-' or '_'")
        found.append(_address(broker_id, each, f"candidate {host!r} of broker {broker_id!r}", host))
    if len({each.host for each in found}) != CANDIDATES or len(found) != CANDIDATES:
        raise ValueError(f"broker {broker_id!r} must have {CANDIDATES} candidates, on different hosts")
    return found


def _address(broker_id: str, row: Mapping[str, Any], whose: str, host: str = "") -> BrokerAddress:
    endpoint = row.get("endpoint")
    if not isinstance(endpoint, str):
        raise ValueError(f"{whose} has no endpoint")
    return BrokerAddress(broker_id, endpoint, _key(row, whose) if "key" in row else "", host)


def _fronts(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    fronts: dict[str, str] = {}
    for row in rows:
        name = row.get("name")
        if not isinstance(name, str) or not _ID(name):
            raise ValueError("a front's name must be 1 to 63 letters, digits, '-' or '_'")
        if name in fronts:
            raise ValueError(f"two fronts have the name {name!r}")
        fronts[name] = _key(row, f"front {name!r}")
    return fronts


def _key(row: Mapping[str, Any], whose: str) -> str:
    key = row.get("key")
    if not isinstance(key, str) or not is_key(key):
        raise ValueError(f"{whose}: key must be a public key in Z85, 40 characters, as bin/keys curve prints it")
    return key


def _check_keys(brokers: Sequence[BrokerAddress], fronts: Mapping[str, str]) -> None:
    """Refuse a key that two processes share, and brokers with keys that no front may connect to."""
    mine = [broker for broker in brokers if broker.key]
    keys = [*(broker.key for broker in mine), *fronts.values()]
    if len(set(keys)) != len(keys):
        raise ValueError("two brokers or fronts have the same key")
    if mine and not fronts:
        raise ValueError(f"broker {mine[0].name!r} has a key, but there is no [[fronts]] table: no front could connect")
    if any(broker.id == FRONT for broker in mine):
        raise ValueError(f"a broker with a key cannot be called {FRONT!r}: {FRONT}.key is the key of fronts and tools")


def is_ipv6(endpoint: str) -> bool:
    """Return whether the endpoint is IPv6, which ZeroMQ must be told."""
    return endpoint.startswith("tcp://[")


def is_id(text: str) -> bool:
    """Return whether this is a valid id of a broker or name of a front."""
    return _ID(text) is not None


def is_process_name(text: str) -> bool:
    """Return whether this is an id of a broker, or names its candidate on a host, such as `b0@h1`."""
    broker, at, host = text.partition("@")
    return is_id(broker) and (not at or _HOST(host) is not None)


def is_key(text: str) -> bool:
    """Return whether this is 32 bytes in Z85 (ZeroMQ RFC 32): groups of five characters, each within 32 bits."""
    if len(text) != 40 or not set(text) <= set(_Z85):
        return False
    groups = [[_Z85.index(each) for each in text[start : start + 5]] for start in range(0, 40, 5)]
    return all(reduce(lambda value, digit: value * 85 + digit, group) < 2**32 for group in groups)


def _pins(table: Mapping[str, Any], ids: Sequence[str]) -> dict[int, str]:
    pins = {}
    for slot, owner in table.items():
        if not (slot.isascii() and slot.isdigit()) or int(slot) >= SLOTS or owner not in ids:
            raise ValueError(f"cluster.pins: {slot} = {owner!r} is not a slot below {SLOTS} and a broker's id")
        pins[int(slot)] = owner
    return pins


def check_endpoint(endpoint: str, *, insecure: bool, key: str = "") -> None:
    """Raise `ValueError` for an endpoint that a broker cannot or must not bind.

    ZeroMQ cannot bound the number of message parts that a peer sends, and frames are not authenticated. Therefore only
    ipc and TCP with a key are allowed, and plain TCP if the operator insists; on loopback too, where every user of the
    host could connect.
    """
    if endpoint.startswith("ipc:///"):
        path = endpoint.removeprefix("ipc://")
        if path.endswith("/") or not path.isprintable():
            raise ValueError(f"endpoint {endpoint!a} does not name a socket file")
        if len(path.encode()) > MAX_IPC_PATH:
            raise ValueError(f"the socket path {path} has over {MAX_IPC_PATH} bytes: use a shorter --run-dir")
        if key:
            raise ValueError(f"endpoint {endpoint!r} is private by its directory and cannot have a key: leave it out")
        return
    match = _TCP(endpoint)
    if not match or not 1 <= int(match["port"]) <= 65535:
        raise ValueError(f"endpoint {endpoint!r} is neither ipc:///path nor tcp://host:port")
    if not key and not insecure:
        raise ValueError(
            f"endpoint {endpoint!r} is TCP without a key: make one (bin/keys curve), or allow plain TCP with --insecure"
        )


def describe_local(brokers: int, run_dir: str | Path, epoch: int = 1) -> str:
    """Return the description (TOML) of a cluster of `brokers` brokers b0, b1, ... on this host, over ipc."""
    rows = [f'[cluster]\nname = "fanmail"\nepoch = {epoch}\n']
    rows += [f'[[brokers]]\nid = "b{n}"\nendpoint = "ipc://{run_dir}/b{n}.sock"\n' for n in range(brokers)]
    return "\n".join(rows)


def describe_replicated(brokers: int, hosts: Sequence[str], run_dir: str | Path, epoch: int = 1) -> str:
    """Return the description (TOML) of replicated brokers b0, b1, ... whose hosts are run directories in `run_dir`.

    The candidates of broker k are on hosts k and k + 1, so that the load of a host goes to two others.
    """
    rows = [f'[cluster]\nname = "fanmail"\nepoch = {epoch}\n']
    for n in range(brokers):
        pair = [hosts[(n + k) % len(hosts)] for k in range(CANDIDATES)]
        lines = [f'  {{host = "{host}", endpoint = "ipc://{run_dir}/{host}/b{n}.sock"}},' for host in pair]
        rows.append("\n".join(["[[brokers]]", f'id = "b{n}"', "candidates = [", *lines, "]", ""]))
    return "\n".join(rows)


def has_brokers(settings: Settings) -> bool:
    """Return whether the `--config` file describes the cluster. Raises `StartError` for an unusable file."""
    return bool(settings.config) and "brokers" in read_toml(settings.config)


def description_path(settings: Settings) -> Path:
    """Return the path of the cluster description: `--config` if it has [[brokers]], else that in the run directory."""
    path = Path(settings.config) if has_brokers(settings) else Path(settings.run_dir) / DESCRIPTION
    return path.absolute()


class DescriptionFile:
    """A cluster description that is checked for changes."""

    def __init__(self, path: str | Path, *, insecure: bool = False) -> None:
        self._path = Path(path)
        self._insecure = insecure
        self._seen: tuple[int, int, int] | None = None

    def newer(self) -> ClusterMap | None:
        """Return the map if the file has appeared or changed since the last call, else None.

        Raises `StartError` once for an unusable file.
        """
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StartError(f"{self._path}: {error.strerror}") from None
        seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        if seen == self._seen:
            return None
        self._seen = seen
        return load_cluster(self._path, insecure=self._insecure)
