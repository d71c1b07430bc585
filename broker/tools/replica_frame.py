"""What the commands of `bin/replica` have in common: settings, the cluster, and the way to NATS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from broker.replica.jetstream.access import Access, access_of
from common import config_sources
from common.cluster.description import description_path, load_cluster
from common.cluster.slots import ClusterMap
from common.command_line import About
from common.config import StartBrokersSettings
from common.errors import StartError
from common.keys.curve import KeyPair, check_front, front_pair

NATS_FLAGS = ("nats", "nats_credentials", "nats_ca", "nats_cert", "nats_key")
FLAGS = ("config", "run_dir", "ids", "curve_dir", "insecure", *NATS_FLAGS)
"""The settings of every command."""


class Frame(NamedTuple):
    """What a command works on."""

    settings: StartBrokersSettings
    options: Any
    cluster: ClusterMap
    access: Access
    keys: KeyPair | None
    """Of tools, where brokers have keys."""
    ids: list[str]
    """The brokers that are meant: all, or those of `--ids`."""

    @property
    def max_batch(self) -> int:
        """Return the bytes of the greatest burst that a broker appends."""
        return max(self.settings.max_body, self.settings.max_batch)


def load_frame(
    name: str, argv: Sequence[str], about: About, flags: Sequence[str], add_options: Callable[[Any], None]
) -> Frame:
    """Return what a command works on. Raises `StartError`."""
    settings, options = config_sources.load(
        StartBrokersSettings, f"replica {name}", argv, add_options, about, (*FLAGS, *flags)
    )
    cluster = load_cluster(description_path(settings), insecure=settings.insecure)
    keys = front_pair(settings.curve_dir)
    check_front(keys, cluster)
    ids = list(dict.fromkeys(settings.ids)) or [broker.id for broker in cluster.brokers]
    for broker_id in ids:
        if not cluster.candidates(broker_id)[0].host:
            raise StartError(f"broker {broker_id!r} has no candidates in the cluster description")
    return Frame(settings, options, cluster, access_of(settings), keys, ids)


def add_json(parser: Any) -> None:
    """Add `--json` to a command line."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def no_options(_: Any) -> None:
    """Add nothing to a command line."""
