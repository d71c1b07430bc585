"""`python -m common.tools.quickstart`, run by `bin/quickstart`: brokers, fronts and a tour to paste."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from threading import Thread
from typing import Any, NoReturn

import configargparse

from common.config import DEFAULT_BROKERS, DEFAULT_FRONTS, FrontSettings, Settings
from common.errors import StartError
from common.process.front_ports import await_fronts, check_ports, ports_of
from common.process.log import setup_logging
from common.process.log_queue import LogQueue
from common.process.readiness import die_with_parent
from common.process.start import how_many, run_service
from common.process.supervise import Child, Supervisor
from common.tools.replicated_quickstart import PORTS, Replicated
from common.version import add_version

PROG = "quickstart"
HOST = "127.0.0.1"
DATA = "fanmail-data"
"""Directory of durable stores that are not to be elsewhere."""
STOP_TIMEOUT = 60.0
"""Seconds for all fronts, and then all brokers, to stop; each of them has a shorter limit of its own."""

log = logging.getLogger("fanmail.supervise")

TOUR = """
Fanmail is ready: {brokers} and {fronts} on {host}:{ports}. Ctrl-C stops it.
{operations}
Try this in another terminal:

  # alice and bob subscribe to the topic "news"
  curl -i -X POST {first}/news/alice
  curl -i -X POST {first}/news/bob

  # publish through one front, read through another
  curl -i -d 'hello, world' -H 'Content-Type: text/plain' {first}/news
  curl -i {last}/news/alice

  # alice has read it: 204, no more messages; bob still has a copy
  curl -w '%{{http_code}}\\n' {last}/news/alice
  curl -w '\\n' {last}/news/bob

  # a slash inside a name is written %2F: the topic "rooms/blue", the user "alice"
  curl -i -X POST {first}/rooms%2Fblue/alice

  # unsubscribe; reading is then 404
  curl -i -X DELETE {first}/news/bob
  curl -i {first}/news/bob
"""


class _Parser(configargparse.ArgumentParser):  # type: ignore[misc]
    def error(self, message: str) -> NoReturn:
        raise StartError(message)


def main() -> int:
    """Run brokers and fronts until Ctrl-C or SIGTERM. Raises `StartError`."""
    die_with_parent()
    options = _options(sys.argv[1:])
    ports = ports_of(options.port, options.fronts)
    await_fronts(options.run_dir, [HOST], ports, Settings.start_timeout)
    check_ports([HOST], ports)
    check_ports([HOST], ports_of(options.ops_port, options.fronts, "--ops-port"))
    setup_logging("auto", "info", PROG)
    shared = [f"--run-dir={options.run_dir}"]
    listen = [f"--port={options.port}", f"--ops-host={HOST}", f"--ops-port={options.ops_port}"]
    keys = [f"--api-keys-file={options.api_keys_file}"] if options.api_keys_file else []
    fronts = [sys.executable, "-m", "httpfront.start", str(options.fronts), *listen, *shared, *keys]
    out = LogQueue(sys.stdout.fileno())
    text = tour(options.brokers, options.fronts, options.port, options.ops_port, bool(keys))
    with ExitStack() as stack:
        if options.replicated:
            replicated = stack.enter_context(Replicated(options))
            brokers, more = replicated.children(), replicated.tour
            out.write(f"The stores and logs are in {replicated.data}{replicated.kept}.\n")
        else:
            brokers, more = [Child("start-brokers", _brokers(options, shared))], str
        out.write("Starting Fanmail ...\n")
        children = [*brokers, Child("start-fronts", fronts)]
        ready = partial(_write_soon, out, lambda: f"{text}{more()}\n")
        code = Supervisor(children, log, STOP_TIMEOUT, in_order=True, on_ready=ready).run()
    out.write("Fanmail is stopped.\n" if code == 0 else "Fanmail could not be started.\n")
    out.close_within()
    return code


def _brokers(options: Any, shared: list[str]) -> list[str]:
    durable = ["--store=sqlite", f"--data={options.data or DATA}"] if options.durable else []
    return [sys.executable, "-m", "broker.start", str(options.brokers), *shared, *durable]


def _write_soon(out: LogQueue, text: Callable[[], str]) -> None:
    """Write a text whose making may take a while, during which the supervisor goes on."""
    Thread(target=lambda: out.write(text()), daemon=True).start()


def tour(brokers: int, fronts: int, port: int, ops_port: int = 0, keys: bool = False) -> str:
    """Return commands to paste into a terminal; with `keys` each call sends the key in FANMAIL_API_KEY."""
    last = port + fronts - 1
    operations = f"Dashboard: http://{HOST}:{ops_port}/" if ops_port else ""
    text = TOUR.replace("curl ", 'curl -H "Authorization: Bearer $FANMAIL_API_KEY" ') if keys else TOUR
    return text.format(
        brokers=_plural(brokers, "broker"),
        fronts=_plural(fronts, "front"),
        host=HOST,
        operations=operations,
        ports=f"{port} to {last}" if fronts > 1 else port,
        first=f"http://{HOST}:{port}",
        last=f"http://{HOST}:{last}",
    )


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("s" if number != 1 else "")


def _options(argv: list[str]) -> Any:
    parser = _Parser(
        prog=PROG, add_env_var_help=False, allow_abbrev=False,
        description="Start brokers and fronts on this host and show how to use them. Ctrl-C stops them. "
        "FANMAIL_* variables apply to both; bin/start-brokers --help and bin/start-fronts --help list them.",
    )  # fmt: skip
    add_version(parser)
    parser.add_argument(
        "--port", type=how_many(1, 65535), default=FrontSettings.port, env_var="FANMAIL_PORT",
        help="port of the first front; the others follow [port, default %(default)s, FANMAIL_PORT]",
    )  # fmt: skip
    parser.add_argument(
        "--ops-port", type=how_many(0, 65535), default=FrontSettings.ops_port, env_var="FANMAIL_OPS_PORT",
        help="operations port of the first front; the others follow, 0 picks free ones "
        "[port, default %(default)s, FANMAIL_OPS_PORT]",
    )  # fmt: skip
    parser.add_argument(
        "--run-dir", default=Settings().run_dir, env_var="FANMAIL_RUN_DIR",
        help="private directory for sockets and locks [path, default %(default)s, FANMAIL_RUN_DIR]",
    )  # fmt: skip
    _add_stores(parser)
    parser.add_argument(
        "--api-keys-file", default="", env_var="FANMAIL_API_KEYS_FILE",
        help="TOML file of API keys, which fronts then require [path, FANMAIL_API_KEYS_FILE]",
    )  # fmt: skip
    parser.add_argument(
        "--brokers", type=how_many(1, 64), default=DEFAULT_BROKERS, help="[brokers, default %(default)s]"
    )
    parser.add_argument("--fronts", type=how_many(1, 64), default=DEFAULT_FRONTS, help="[fronts, default %(default)s]")
    options = parser.parse_args(argv)
    if options.durable and options.replicated:
        raise StartError("give either --durable or --replicated: replicated brokers are durable")
    return options


def _add_stores(parser: Any) -> None:
    parser.add_argument(
        "--durable", action="store_true", help="store messages on disk, where they survive restarts and crashes"
    )
    parser.add_argument(
        "--replicated", action="store_true",
        help="two processes for each broker, as on three hosts, with a replicated log on three NATS servers",
    )  # fmt: skip
    parser.add_argument(
        "--data", default="", env_var="FANMAIL_DATA",
        help=f"directory of the stores [path, default with --durable {DATA} here, with --replicated a temporary one "
        "that is removed at the end, FANMAIL_DATA]",
    )  # fmt: skip
    parser.add_argument(
        "--nats-port", type=how_many(0, 65535 - PORTS), default=0, env_var="FANMAIL_NATS_PORT",
        help=f"with --replicated: first of {PORTS} ports of the NATS servers, 0 picks free ones "
        "[port, default %(default)s, FANMAIL_NATS_PORT]",
    )  # fmt: skip


if __name__ == "__main__":
    run_service(main, PROG)
