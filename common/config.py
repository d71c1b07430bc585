"""The one table of settings.

Every setting is a field of one of the classes below: name, type, unit, default and help stand together.
Flags come before `FANMAIL_*` variables, those before the `[fanmail]` table of the file named by `--config`,
that before the default. `--help` and `docs/settings.md` are made from the fields. Settings are read in
`__main__` modules only and passed on as one of these objects.
"""

from __future__ import annotations

import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, NoReturn, TypeVar

import configargparse

from common.errors import StartError
from common.names import MAX_NAME
from common.setting_text import as_text as as_text
from common.setting_text import flag as flag
from common.setting_text import variable as variable
from common.toml_file import read_toml
from common.units import GIB, KIB, LISTS, MIB, addresses, choice, count, host_names, names, seconds, size, switch
from common.version import add_version


def setting(parse: Callable[[str], Any], default: Any, unit: str, text: str) -> Any:
    """One row: how it is parsed, its default, its unit ("" where it has none) and its help."""
    return field(default=default, metadata={"parse": parse, "unit": unit, "help": text})


def _default_run_dir() -> str:
    base = os.environ.get("XDG_RUNTIME_DIR")
    return f"{base}/fanmail" if base else f"{tempfile.gettempdir()}/fanmail-{os.getuid()}"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of every process."""

    config: str = setting(str, "", "path", "file with a [fanmail] table of settings and [[brokers]]")
    run_dir: str = setting(
        str, "", "path", "private directory for sockets and locks; default $XDG_RUNTIME_DIR/fanmail "
        "or a directory of the user's own under the system's temporary directory",
    )  # fmt: skip
    log_format: str = setting(choice("auto", "json", "text"), "auto", "", "auto is text at a terminal, else json")
    log_level: str = setting(choice("debug", "info", "warning", "error"), "info", "", "least level that is logged")
    max_body: int = setting(size(1, 64 * MIB), MIB, "bytes", "largest body of one message")
    max_batch: int = setting(size(1, 64 * MIB), 8 * MIB, "bytes", "largest body of a batch, as it comes and decoded")
    insecure: bool = setting(
        switch, False, "", "allow plain TCP between fronts and brokers: whoever connects may do all"
    )
    start_timeout: float = setting(
        seconds(0, 600), 20.0, "seconds", "how long a start waits for processes that are still stopping"
    )
    curve_dir: str = setting(
        str, "", "path", "folder with secret keys where brokers have keys: ID.key of a broker, front.key of a front"
    )

    def __post_init__(self) -> None:
        if not self.run_dir:
            object.__setattr__(self, "run_dir", _default_run_dir())


@dataclass(frozen=True, kw_only=True)
class BrokerSettings(Settings):
    """Settings of a broker."""

    id: str = setting(str, "b0", "", "id of this broker in the cluster description")
    max_topics: int = setting(count(1, 10**9), 1_000_000, "topics", "ceiling of topics of a broker (429)")
    max_subscriptions: int = setting(
        count(1, 10**9), 2_000_000, "subscriptions", "ceiling of subscriptions of a broker (429)"
    )
    max_messages: int = setting(count(1, 10**9), 1_000_000, "messages", "ceiling of stored messages of a topic (429)")
    max_bytes: int = setting(size(1, 2**50), 256 * MIB, "bytes", "ceiling of stored bytes of a topic (429)")
    memory: int = setting(size(MIB, 2**50), GIB, "bytes", "ceiling of what a broker holds in memory (503)")
    store: str = setting(
        choice("memory", "sqlite"), "memory", "", "where messages are kept: memory is gone when the broker stops"
    )
    data: str = setting(str, "", "path", "directory of the sqlite stores, one folder for each broker")
    disk_reserve: int = setting(
        size(MIB, 2**50), 256 * MIB, "bytes", "publishing is refused (503) while less than this is free on the disk"
    )
    topics: str = setting(
        str, "", "path", "file with [[topics]]: ceilings of topics by patterns of names; default the --config file"
    )
    max_leases: int = setting(count(1, 10**6), 1000, "leases", "open leases of a user (429)")
    lease_window: int = setting(
        count(1, 10**9), 10_000, "messages", "how far beyond a user's oldest unfinished message others are leased (429)"
    )
    topic_share: int = setting(
        count(1, 100), 25, "percent", "what one topic may take of what other topics leave of a broker's leases "
        "(a quarter of memory) and delayed publishes (429)",
    )  # fmt: skip
    subscription_share: int = setting(count(1, 100), 50, "percent", "the same of its subscriptions (429)")
    max_dead: int = setting(count(1, 10**6), 1000, "messages", "dead letters of a user; the oldest are dropped")
    max_dead_bytes: int = setting(size(1, 2**40), 64 * MIB, "bytes", "bytes of a user's dead letters, likewise")
    max_delayed: int = setting(
        count(0, 10**8),
        100_000,
        "publishes",
        "delayed publishes of a broker, which take a quarter of memory at most (429)",
    )
    max_keys: int = setting(count(1, 10**8), 100_000, "keys", "idempotency keys of a topic; the oldest are forgotten")
    max_key_bytes: int = setting(
        size(64 * KIB, 2**40), 64 * MIB, "bytes", "memory of a broker's idempotency keys; the topic with most gives way"
    )
    key_ttl: float = setting(seconds(1, 86400), 600.0, "seconds", "how long an idempotency key is remembered")
    goodbye_timeout: float = setting(
        seconds(0, 600), 3.0, "seconds", "how long a stopping broker waits for the fronts to have heard of it"
    )


@dataclass(frozen=True, kw_only=True)
class FrontSettings(Settings):
    """Settings of a front."""

    host: tuple[str, ...] = setting(
        addresses, ("127.0.0.1",), "addresses", "addresses to listen on, `,` between them; :: is IPv4 too"
    )
    port: int = setting(count(0, 65535), 8100, "port", "port to listen on; of the first front where there are several")
    ops_host: tuple[str, ...] = setting(
        addresses, ("127.0.0.1",), "addresses", "addresses of the operations port: metrics, admin, dashboard"
    )
    ops_port: int = setting(
        count(0, 65535), 9100, "port", "operations port; of the first front where there are several; 0: a free one"
    )
    api_keys_file: str = setting(
        str, "", "path", "TOML file of API keys and their rights; without it everybody may do everything"
    )
    allowed_hosts: tuple[str, ...] = setting(
        host_names, (), "names", "names that both ports answer to besides localhost and addresses, * for any (421); "
        "default: any with API keys or beyond loopback, else none",
    )  # fmt: skip
    connections: int = setting(count(1, 10**6), 4000, "connections", "open connections; more are answered 503")
    buffer_memory: int = setting(
        size(MIB, 2**50), 256 * MIB, "bytes", "ceiling of the bodies and answers under way in a front (503); at least "
        "four times the largest of max_body, max_batch and max_fetch_bytes",
    )  # fmt: skip
    max_batch_messages: int = setting(count(1, 10**6), 10_000, "messages", "most messages of a batch")
    max_fetch: int = setting(count(1, 10**6), 1000, "messages", "most messages of one fetch; a larger max is cut")
    max_fetch_bytes: int = setting(size(1, 64 * MIB), 8 * MIB, "bytes", "most bytes of one fetch, beyond one message")
    max_wait: float = setting(seconds(0, 3600), 30.0, "seconds", "longest wait of a long poll; longer ones are cut")
    max_waiters: int = setting(count(0, 10**6), 3000, "requests", "long polls at a time; more are answered at once")
    waiter_share: int = setting(
        count(1, 100), 50, "percent", "what one user of a topic may take of what others leave of max_waiters"
    )
    max_name: int = setting(count(1, MAX_NAME), 255, "bytes", "longest topic or user name")
    max_headers: int = setting(size(256, MIB), 16 * KIB, "bytes", "largest request line and header section (431)")
    max_target: int = setting(size(64, MIB), 8 * KIB, "bytes", "longest request target (414)")
    request_timeout: float = setting(
        seconds(0.1, 3600), 30.0, "seconds", "after this its head is there (408), and its body keeps up with min_rate"
    )
    idle_timeout: float = setting(seconds(0.1, 86400), 75.0, "seconds", "an idle connection is closed after so long")
    write_timeout: float = setting(
        seconds(0.1, 3600), 30.0, "seconds", "a client that reads its answer slower than min_rate for so long is closed"
    )
    min_rate: int = setting(
        size(1, GIB),
        KIB,
        "bytes a second",
        "least rate of bodies (in each request_timeout) and answers (in each write_timeout)",
    )
    broker_timeout: float = setting(
        seconds(0.1, 600), 5.0, "seconds", "a broker must have answered after so long, else 504"
    )
    drain_timeout: float = setting(
        seconds(0, 600), 10.0, "seconds", "how long a stopping front lets requests in progress finish"
    )
    drain_idle: float = setting(
        seconds(0, 600), 1.0, "seconds", "how long a stopping front waits for a last request of an idle connection"
    )
    access_log: bool = setting(switch, True, "", "log one line a request")


@dataclass(frozen=True, kw_only=True)
class StartBrokersSettings(BrokerSettings):
    """Settings of `bin/start-brokers`; what a broker takes is passed on to each."""

    ids: tuple[str, ...] = setting(
        names, (), "ids", "brokers of the description to start on this host; default all of them"
    )


ROLES: tuple[type[Settings], ...] = (BrokerSettings, FrontSettings, StartBrokersSettings)
S = TypeVar("S", bound=Settings)


def describe(item: Field[Any]) -> str:
    """The help text of one setting: what it is, its unit and default, its variable."""
    unit, default = item.metadata["unit"], item.default
    if default is MISSING or default in ("", ()):
        facts = [unit] if unit else []
    else:
        shown = as_text(default)
        facts = [f"{unit}, default {shown}" if unit else f"default {shown}"]
    return f"{item.metadata['help']} [{', '.join([*facts, variable(item.name)])}]".replace("%", "%%")


def load(
    role: type[S], prog: str, argv: Sequence[str], positional: Callable[[Any], None] | None = None
) -> tuple[S, Any]:
    """The settings of `role` from flags, environment and file, and the positional arguments' namespace.

    Raises `StartError` with one clear line for anything that cannot be used. `--help` prints and exits 0.
    """
    parser = _Parser(
        prog=prog,
        description=(role.__doc__ or "").split("\n")[0],
        config_file_parser_class=type("_RoleFile", (_File,), {"role": role}),
        add_env_var_help=False,
        add_config_file_help=False,
        allow_abbrev=False,
        args_for_setting_config_path=[],
    )
    add_version(parser)
    if positional:
        positional(parser)
    for item in fields(role):
        options: dict[str, Any] = {"env_var": variable(item.name), "help": describe(item), "dest": item.name}
        if item.name == "config":
            options["is_config_file"] = True
        if item.metadata["parse"] is switch:
            options.update(nargs="?", const="on")
        if item.metadata["parse"] in LISTS:
            options["action"] = "append"
        parser.add_argument(flag(item.name), metavar=item.metadata["unit"].upper() or "VALUE", **options)
    namespace, unknown = parser.parse_known_args(list(argv))
    if unknown:
        raise StartError(f"{prog}: unknown argument {unknown[0]!r} (--help lists them)")
    return role(**_parsed(role, prog, namespace)), namespace


def _parsed(role: type[Settings], prog: str, namespace: Any) -> dict[str, Any]:
    values = {}
    for item in fields(role):
        text = getattr(namespace, item.name)
        if text is None:
            continue
        if isinstance(text, list):
            text = ",".join(text)
        try:
            values[item.name] = item.metadata["parse"](text)
        except ValueError as error:
            reason = str(error) if "must" in str(error) or "is not" in str(error) else "is not a number"
            raise StartError(f"{prog}: {flag(item.name)} {text!r} {reason}") from None
    return values


def as_flags(settings: Settings, role: type[Settings], **changed: object) -> list[str]:
    """The command line that gives another process of `role` these settings, `changed` ones replaced.

    Defaults too: the other process has the same environment, which a flag given here must go before.
    """
    argv = []
    for item in fields(role):
        value = changed.get(item.name, getattr(settings, item.name))
        if value not in ("", ()):
            argv.append(f"{flag(item.name)}={as_text(value)}")
    return argv


class _Parser(configargparse.ArgumentParser):  # type: ignore[misc]
    """Errors are one line, raised instead of printed with the whole usage."""

    def error(self, message: str) -> NoReturn:
        raise StartError(f"{self.prog}: {message}")


class _File(configargparse.ConfigFileParser):  # type: ignore[misc]
    """The `[fanmail]` table of the configuration file, for one role.

    A key that no role knows is refused; one of another role is left out, so that one file serves all.
    """

    role: type[Settings] = Settings

    def get_syntax_description(self) -> str:
        return "TOML with a [fanmail] table"

    def parse(self, stream: Any) -> OrderedDict[str, str]:
        path = getattr(stream, "name", "the configuration file")
        table = read_toml(path).get("fanmail", {})
        if not isinstance(table, dict):
            raise StartError(f"{path}: fanmail must be a table: [fanmail]")
        mine = {item.name for item in fields(self.role)}
        known = {item.name for each in ROLES for item in fields(each)}
        result: OrderedDict[str, str] = OrderedDict()
        for key, value in table.items():
            name = key.replace("-", "_")
            if name not in known or name == "config":
                raise StartError(f"{path}: unknown setting {key!r} in [fanmail]")
            if name in mine:
                result[name.replace("_", "-")] = as_text(value)
        return result
