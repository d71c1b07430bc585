"""What the commands of `bin/replica` have in common: settings, the cluster, and the way to NATS."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from broker.replica.jetstream.access import Access, access_of
from broker.store.sqlite.files import FILE, LOCK
from broker.store_settings import uses_postgres
from common import config_sources
from common.cluster.description import description_path, load_cluster
from common.cluster.slots import ClusterMap
from common.command_line import About
from common.config import StartBrokersSettings
from common.errors import StartError
from common.keys.curve import KeyPair, check_front, front_pair
from common.process.folders import private_dir
from common.process.locks import lock_file

NATS_FLAGS = ("nats", "nats_credentials", "nats_ca", "nats_cert", "nats_key")
LOG_FLAGS = (*NATS_FLAGS, "postgres")
FLAGS = ("config", "run_dir", "curve_dir", "insecure")
"""The settings of every command."""


class Frame(NamedTuple):
    """What a command works on."""

    settings: StartBrokersSettings
    options: Any
    cluster: ClusterMap
    reach: Access | None
    """None: the command does not need NATS, or the logs are in PostgreSQL."""
    keys: KeyPair | None
    """Of tools, where brokers have keys."""
    ids: list[str]
    """The brokers that are meant: all, those of `--ids`, or the one that is named."""

    @property
    def access(self) -> Access:
        """Return the way to NATS."""
        assert self.reach is not None
        return self.reach

    @property
    def max_batch(self) -> int:
        """Return the bytes of the greatest burst that a broker appends."""
        return max(self.settings.max_body, self.settings.max_batch)


def load_frame(
    name: str, argv: Sequence[str], about: About, flags: Sequence[str], add_options: Callable[[Any], None]
) -> Frame:
    """Return what a command works on; the settings of NATS are in `flags` where it needs them. Raises `StartError`."""
    settings, options = config_sources.load(
        StartBrokersSettings, f"replica {name}", argv, add_options, about, (*FLAGS, *flags)
    )
    in_postgres = "postgres" in flags and uses_postgres(settings)
    access = access_of(settings) if "nats" in flags and not in_postgres else None
    cluster = load_cluster(description_path(settings), insecure=settings.insecure)
    keys = front_pair(settings.curve_dir)
    check_front(keys, cluster)
    named = [options.broker] if "broker" in options else list(dict.fromkeys(settings.ids))
    ids = named or [broker.id for broker in cluster.brokers]
    for broker_id in ids:
        if not cluster.candidates(broker_id)[0].host:
            raise StartError(f"broker {broker_id!r} has no candidates in the cluster description")
    return Frame(settings, options, cluster, access, keys, ids)


def add_json(parser: Any) -> None:
    """Add `--json` to a command line."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_broker(parser: Any) -> None:
    """Add BROKER to a command line."""
    parser.add_argument("broker", metavar="BROKER", help="id of the broker")


def no_options(_: Any) -> None:
    """Add nothing to a command line."""


@contextmanager
def locked_folder(folder: Path) -> Iterator[Path]:
    """Make the folder of a store if it is missing, and keep brokers out of it. Yield the path of the store.

    Raises `StartError` where a broker uses it.
    """
    path = private_dir(folder, "store directory") / FILE
    handle = lock_file(path.with_name(LOCK))
    try:
        yield path
    finally:
        os.close(handle)


def data_folder(settings: StartBrokersSettings, broker_id: str) -> Path:
    """Return where a candidate has its store. Raises `StartError` without `--data`."""
    if not settings.data:
        raise StartError("--data must name the directory of the stores of this candidate")
    return Path(settings.data).absolute() / broker_id
