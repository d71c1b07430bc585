"""The table of settings, and the only place with their defaults.

Every setting is a field of one of the classes below: name, type, unit, default and help are together. A flag takes
precedence over the `FANMAIL_*` variable, that over the `[fanmail]` table of the file named by `--config`, and that over
the default. `--help` and `docs/settings.md` are generated from the fields. Only `__main__` modules read settings, and
they pass them on as one of these objects.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from common.names import MAX_NAME
from common.units import (
    GIB,
    KIB,
    MIB,
    addresses,
    choice,
    count,
    host_names,
    names,
    origins,
    seconds,
    servers,
    size,
    switch,
)

DEFAULT_BROKERS, DEFAULT_FRONTS = 4, 4
"""Processes that `bin/start-brokers`, `bin/start-fronts` and `bin/quickstart` start if no number is given."""


def setting(parse: Callable[[str], Any], default: Any, unit: str, text: str) -> Any:
    """Return one row of the table: parser, default, unit ("" for none) and help."""
    return field(default=default, metadata={"parse": parse, "unit": unit, "help": text})


def _default_run_dir() -> str:
    base = os.environ.get("XDG_RUNTIME_DIR")
    return f"{base}/fanmail" if base else f"{tempfile.gettempdir()}/fanmail-{os.getuid()}"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of every process."""

    config: str = setting(
        str, "", "path", "TOML file with settings ([fanmail]) and the cluster description ([[brokers]])"
    )
    run_dir: str = setting(
        str, "", "path", "private directory for sockets and locks; default $XDG_RUNTIME_DIR/fanmail, "
        "or a per-user directory below the system's temporary directory",
    )  # fmt: skip
    log_format: str = setting(
        choice("auto", "json", "text"), "auto", "", "log format; auto: text on a terminal, otherwise json"
    )
    log_level: str = setting(choice("debug", "info", "warning", "error"), "info", "", "lowest level that is logged")
    max_body: int = setting(size(1, 64 * MIB), MIB, "bytes", "maximum body of a message (413)")
    max_batch: int = setting(
        size(1, 64 * MIB), 8 * MIB, "bytes", "maximum body of a batch, as received and decoded (413)"
    )
    insecure: bool = setting(
        switch, False, "", "allow plain TCP between fronts and brokers: every host that can connect has full access"
    )
    start_timeout: float = setting(
        seconds(0, 600), 20.0, "seconds", "maximum time that a start waits for earlier processes to stop"
    )
    curve_dir: str = setting(
        str,
        "",
        "path",
        "directory with secret keys, if the brokers have keys: ID.key of a broker, front.key of the fronts",
    )

    def __post_init__(self) -> None:
        if not self.run_dir:
            object.__setattr__(self, "run_dir", _default_run_dir())


@dataclass(frozen=True, kw_only=True)
class BrokerSettings(Settings):
    """Settings of a broker."""

    id: str = setting(str, "b0", "", "id of this broker in the cluster description")
    max_topics: int = setting(count(1, 10**9), 1_000_000, "topics", "maximum topics of a broker (429)")
    max_subscriptions: int = setting(
        count(1, 10**9), 2_000_000, "subscriptions", "maximum subscriptions of a broker (429)"
    )
    max_messages: int = setting(count(1, 10**9), 1_000_000, "messages", "maximum stored messages of a topic (429)")
    max_bytes: int = setting(size(1, 2**50), 256 * MIB, "bytes", "maximum stored bytes of a topic (429)")
    memory: int = setting(size(MIB, 2**50), GIB, "bytes", "maximum memory that a broker uses for its content (503)")
    store: str = setting(
        choice("memory", "sqlite", "replicated"), "memory", "", "where messages are stored; memory: lost when the "
        "broker stops; replicated: in a log on NATS JetStream or PostgreSQL and on two hosts, for a description with "
        "candidates",
    )  # fmt: skip
    data: str = setting(str, "", "path", "directory of the stores on disk, with a subdirectory per broker")
    candidate: str = setting(
        str, "", "host", "host of the candidate that this process is, where the description has candidates"
    )
    nats: tuple[str, ...] = setting(
        servers, (), "addresses", "NATS servers of the replicated log, such as nats://h1:4222,nats://h2:4222"
    )
    nats_credentials: str = setting(
        str, "", "path", "private file with the credentials for NATS: .creds, a seed of an nkey, or TOML with user and "
        "password; default: none",
    )  # fmt: skip
    nats_ca: str = setting(
        str, "", "path", "certificates of the authorities that may sign those of NATS servers; default: the system's"
    )
    nats_cert: str = setting(str, "", "path", "certificate of this process for NATS servers that ask for one")
    nats_key: str = setting(str, "", "path", "private key of nats_cert")
    postgres: str = setting(
        str, "", "url", "PostgreSQL server of the replicated log, instead of NATS: postgresql://user@h1,h2/database, "
        "with ?passfile=... for the password",
    )  # fmt: skip
    log_max_bytes: int = setting(
        size(MIB, 2**50), 8 * GIB, "bytes", "maximum size of the replicated log of a broker, for bin/replica init"
    )
    log_replicas: int = setting(
        count(1, 5), 3, "servers", "servers that keep each replicated log; with 1, the loss of a server loses it"
    )
    log_keep: float = setting(
        seconds(0, 604800), 900.0, "seconds", "time that entries stay in a replicated log when all candidates have them"
    )
    disk_reserve: int = setting(
        size(MIB, 2**50), 256 * MIB, "bytes", "publishing is refused (503) while the disk has less free space"
    )
    topics: str = setting(
        str, "", "path", "TOML file with limits of topics by name pattern ([[topics]]); default: the --config file"
    )
    max_leases: int = setting(count(1, 10**6), 1000, "leases", "maximum open leases of a subscription (429)")
    lease_window: int = setting(
        count(1, 10**9),
        10_000,
        "messages",
        "maximum distance of a leased message from the oldest unfinished one of its subscription (429)",
    )
    topic_share: int = setting(
        count(1, 100), 25, "percent", "part that one topic may use of what other topics leave of a broker's leases "
        "(a quarter of memory) and delayed publishes (429)",
    )  # fmt: skip
    subscription_share: int = setting(
        count(1, 100),
        50,
        "percent",
        "part that one topic may use of what other topics leave of max_subscriptions (429)",
    )
    max_dead: int = setting(
        count(1, 10**6), 1000, "messages", "maximum dead letters of a subscription; beyond it the oldest are dropped"
    )
    max_dead_bytes: int = setting(
        size(1, 2**40),
        64 * MIB,
        "bytes",
        "maximum bytes of the dead letters of a subscription; beyond it the oldest are dropped",
    )
    max_delayed: int = setting(
        count(0, 10**8),
        100_000,
        "publishes",
        "maximum delayed publishes of a broker; they use at most a quarter of memory (429)",
    )
    max_keys: int = setting(
        count(1, 10**8), 100_000, "keys", "maximum idempotency keys of a topic; beyond it the oldest are forgotten"
    )
    max_key_bytes: int = setting(
        size(64 * KIB, 2**40),
        64 * MIB,
        "bytes",
        "maximum memory of the idempotency keys of a broker; beyond it the topic with most keys loses the oldest",
    )
    key_ttl: float = setting(seconds(1, 86400), 600.0, "seconds", "time that an idempotency key is remembered")
    goodbye_timeout: float = setting(
        seconds(0, 600),
        3.0,
        "seconds",
        "maximum time that a stopping broker waits for the fronts to acknowledge the stop",
    )


@dataclass(frozen=True, kw_only=True)
class FrontSettings(Settings):
    """Settings of a front."""

    host: tuple[str, ...] = setting(
        addresses, ("127.0.0.1",), "addresses", "addresses to listen on, separated by commas; :: includes IPv4"
    )
    port: int = setting(
        count(0, 65535),
        8100,
        "port",
        "port to listen on; the first of several fronts gets it, the others the next ones",
    )
    ops_host: tuple[str, ...] = setting(
        addresses, ("127.0.0.1",), "addresses", "addresses of the operations port: metrics, admin API, dashboard"
    )
    ops_port: int = setting(
        count(0, 65535), 9100, "port", "operations port; several fronts: as for --port; 0: a free port"
    )
    api_keys_file: str = setting(
        str, "", "path", "TOML file of API keys and their rights; without it there is no authentication"
    )
    allowed_hosts: tuple[str, ...] = setting(
        host_names, (), "names", "host names that both ports accept besides localhost and addresses, * for any (421); "
        "default: any with API keys or beyond loopback, otherwise none",
    )  # fmt: skip
    cors_origins: tuple[str, ...] = setting(
        origins, (), "origins", "origins of web pages that may call the API, such as https://app.example; browsers "
        "send their keys as Authorization, never cookies",
    )  # fmt: skip
    connections: int = setting(count(1, 10**6), 4000, "connections", "maximum open connections (503)")
    max_streams: int = setting(
        count(0, 10**6), 0, "streams", "maximum open streams and WebSocket sessions (503); a further read of a session "
        "counts, too; 0: half of connections, as far as they are served",
    )  # fmt: skip
    buffer_memory: int = setting(
        size(MIB, 2**50), 256 * MIB, "bytes", "memory of bodies and answers in flight in a front (503); at least "
        "four times the largest of max_body, max_batch and max_fetch_bytes",
    )  # fmt: skip
    max_batch_messages: int = setting(count(1, 10**6), 10_000, "messages", "maximum messages of a batch (400)")
    max_fetch: int = setting(
        count(1, 10**6), 1000, "messages", "maximum messages of one fetch; a larger max is reduced to it"
    )
    max_fetch_bytes: int = setting(
        size(1, 64 * MIB), 8 * MIB, "bytes", "maximum bytes of one fetch; a single message may exceed it"
    )
    max_wait: float = setting(
        seconds(0, 3600), 30.0, "seconds", "maximum wait of a long poll; a longer wait is reduced to it"
    )
    max_waiters: int = setting(
        count(0, 10**6), 3000, "requests", "maximum concurrent long polls; others are answered at once (204)"
    )
    waiter_share: int = setting(
        count(1, 100), 50, "percent", "part that one subscription may use of what others leave of max_waiters"
    )
    max_name: int = setting(count(1, MAX_NAME), 255, "bytes", "maximum topic or user name (400)")
    max_headers: int = setting(size(256, MIB), 16 * KIB, "bytes", "maximum request line and header section (431)")
    max_target: int = setting(size(64, MIB), 8 * KIB, "bytes", "maximum request target (414)")
    request_timeout: float = setting(
        seconds(0.1, 3600),
        30.0,
        "seconds",
        "maximum time for the head of a request (408), and the window over which its body must keep min_rate",
    )
    idle_timeout: float = setting(seconds(0.1, 86400), 75.0, "seconds", "idle connections are closed after this time")
    write_timeout: float = setting(
        seconds(0.1, 3600),
        30.0,
        "seconds",
        "the window over which a client must read an answer at min_rate; otherwise its connection is closed",
    )
    min_rate: int = setting(
        size(1, GIB),
        KIB,
        "bytes per second",
        "minimum rate of bodies (per request_timeout) and answers (per write_timeout)",
    )
    broker_timeout: float = setting(seconds(0.1, 600), 5.0, "seconds", "maximum time for the answer of a broker (504)")
    drain_timeout: float = setting(
        seconds(0, 600), 10.0, "seconds", "maximum time that a stopping front gives requests in progress to finish"
    )
    drain_idle: float = setting(
        seconds(0, 600), 1.0, "seconds", "time that a stopping front waits for a last request on an idle connection"
    )
    access_log: bool = setting(switch, True, "", "log one line per request")


@dataclass(frozen=True, kw_only=True)
class StartBrokersSettings(BrokerSettings):
    """Settings of `bin/start-brokers`; those of a broker are passed on to each broker."""

    ids: tuple[str, ...] = setting(
        names, (), "ids", "ids of the brokers to start on this host; default: all brokers of the description"
    )


ROLES: tuple[type[Settings], ...] = (BrokerSettings, FrontSettings, StartBrokersSettings)
