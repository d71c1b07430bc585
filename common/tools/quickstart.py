"""`python -m common.tools.quickstart`, run by `bin/quickstart`: brokers, fronts and a tour to paste."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from threading import Thread
from typing import Any

from common.command_line import Parser
from common.config import DEFAULT_BROKERS, DEFAULT_FRONTS, FrontSettings, Settings
from common.errors import StartError
from common.keys.api_keys import read_keys
from common.process.front_ports import await_fronts, check_apart, check_ports, ports_of
from common.process.log import setup_logging
from common.process.log_queue import LogQueue
from common.process.readiness import die_with_parent
from common.process.start import how_many, run_service
from common.process.supervise import Child, Supervisor
from common.process.terminal import coloured, has_colours
from common.process.variables import warn_of_misspelt_variables
from common.program import launcher
from common.tools.replicated_quickstart import PORTS, Replicated
from common.tools.tour_key import with_key

PROG = "quickstart"
HOST = "127.0.0.1"
DATA = "fanmail-data"
LEVELS = ("debug", "info", "warning", "error")
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

{kept}
"""
IN_MEMORY = "Messages are in memory and are lost when this stops; --durable keeps them on disk."
ON_DISK = "Messages are kept in {folder} and survive restarts."
LOG_LEVEL = "warning"
"""By default only what needs attention is logged, so that the tour stays in sight."""


def main() -> int:
    """Run brokers and fronts until Ctrl-C or SIGTERM. Raises `StartError`."""
    die_with_parent()
    options = parse(sys.argv[1:])
    ports = ports_of(options.port, options.fronts)
    ops_ports = ports_of(options.ops_port, options.fronts, "--ops-port")
    check_apart(ports, ops_ports)
    if options.api_keys_file:
        read_keys(options.api_keys_file)
    await_fronts(options.run_dir, [HOST], ports, Settings.start_timeout)
    check_ports([HOST], ports)
    check_ports([HOST], ops_ports)
    setup_logging("auto", options.log_level, PROG)
    warn_of_misspelt_variables(log)
    out = LogQueue(sys.stdout.fileno())
    with ExitStack() as stack:
        replicated = stack.enter_context(Replicated(options)) if options.replicated else None
        out.write("Starting Fanmail ...\n")
        on_ready = partial(_write_soon, out, lambda: _tours(options, replicated))
        code = Supervisor(_children(options, replicated), log, STOP_TIMEOUT, in_order=True, on_ready=on_ready).run()
    out.write("Fanmail is stopped.\n" if code == 0 else "Fanmail could not be started.\n")
    out.close_within()
    return code


def _write_soon(out: LogQueue, text: Callable[[], str]) -> None:
    """Write a text whose making may take a while, during which the supervisor goes on."""
    Thread(target=lambda: out.write(text()), daemon=True).start()


def _tours(options: Any, replicated: Replicated | None) -> str:
    text = tour(options, replicated.kept if replicated else "") + (replicated.tour() if replicated else "") + "\n"
    return coloured(text) if has_colours(sys.stdout) else text


def _children(options: Any, replicated: Replicated | None) -> list[Child]:
    shared = [f"--run-dir={options.run_dir}", f"--log-level={options.log_level}"]
    durable = ["--store=sqlite", f"--data={options.data or DATA}"] if is_durable(options) else []
    brokers = [sys.executable, "-m", "broker.start", str(options.brokers), *shared, *durable]
    listen = [f"--port={options.port}", f"--ops-host={HOST}", f"--ops-port={options.ops_port}"]
    keys = [f"--api-keys-file={options.api_keys_file}"] if options.api_keys_file else []
    fronts = [sys.executable, "-m", "httpfront.start", str(options.fronts), *listen, *shared, *keys]
    first = replicated.children() if replicated else [Child("start-brokers", brokers)]
    return [*first, Child("start-fronts", fronts)]


def is_durable(options: Any) -> bool:
    """Return whether messages are kept on disk: a directory for them says so, too."""
    return bool(options.durable or options.data)


def tour(options: Any, kept: str = "") -> str:
    """Return commands to paste into a terminal; with API keys each call sends the key in FANMAIL_API_KEY.

    `kept` says where messages are, if the options do not.
    """
    last = options.port + options.fronts - 1
    return with_key(TOUR, options.api_keys_file).format(
        brokers=_plural(options.brokers, "broker"),
        fronts=_plural(options.fronts, "front"),
        host=HOST,
        operations=f"Dashboard: http://{HOST}:{options.ops_port}/" if options.ops_port else "",
        ports=f"{options.port} to {last}" if options.fronts > 1 else options.port,
        first=f"http://{HOST}:{options.port}",
        last=f"http://{HOST}:{last}",
        kept=kept or (ON_DISK.format(folder=options.data or DATA) if is_durable(options) else IN_MEMORY),
    )


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("s" if number != 1 else "")


def parse(argv: list[str]) -> Any:
    """Parse the command line. Raise `StartError`."""
    brokers, fronts = launcher("start-brokers"), launcher("start-fronts")
    parser = Parser(
        "Start brokers and fronts on this host and show how to use them. Ctrl-C stops them. FANMAIL_* variables apply "
        f"to both; {brokers} --help and {fronts} --help list them.",
        ["", "--durable --brokers 1 --fronts 1"],
        PROG,
        usage=f"{launcher(PROG)} [--SETTING VALUE ...]",
    )
    parser.add_argument(
        "--brokers", metavar="N", type=how_many(1, 64), default=DEFAULT_BROKERS, help="brokers [default %(default)s]"
    )
    parser.add_argument(
        "--fronts", metavar="N", type=how_many(1, 64), default=DEFAULT_FRONTS, help="fronts [default %(default)s]"
    )
    _add_network(parser.add_argument_group("network"))
    _add_storage(parser.add_argument_group("storage"))
    parser.add_argument_group("logs").add_argument(
        "--log-level", metavar="|".join(LEVELS), choices=LEVELS, default=LOG_LEVEL, env_var="FANMAIL_LOG_LEVEL",
        help="lowest level that is logged; info has a line per request [default %(default)s, FANMAIL_LOG_LEVEL]",
    )  # fmt: skip
    options = parser.parse_args(argv)
    if options.durable and options.replicated:
        raise StartError("give either --durable or --replicated: replicated brokers are durable", parser.called)
    return options


def _add_storage(group: Any) -> None:
    group.add_argument(
        "--durable", action="store_true", help="keep messages on disk, where they survive restarts and crashes"
    )
    group.add_argument(
        "--replicated", action="store_true",
        help="two processes per broker, as on three hosts, with logs on three NATS servers, which it installs",
    )  # fmt: skip
    group.add_argument(
        "--data", metavar="PATH", default="", env_var="FANMAIL_DATA",
        help=f"directory of the stores; implies --durable, whose default is {DATA} here; default with --replicated: "
        "a temporary one [FANMAIL_DATA]",
    )  # fmt: skip
    group.add_argument(
        "--nats-port", metavar="PORT", type=how_many(0, 65535 - PORTS), default=0, env_var="FANMAIL_NATS_PORT",
        help=f"first of {PORTS} ports of the NATS servers [default: free ones, FANMAIL_NATS_PORT]",
    )  # fmt: skip


def _add_network(group: Any) -> None:
    group.add_argument(
        "--port", metavar="PORT", type=how_many(1, 65535), default=FrontSettings.port, env_var="FANMAIL_PORT",
        help="port of the first front; the others follow [default %(default)s, FANMAIL_PORT]",
    )  # fmt: skip
    group.add_argument(
        "--ops-port", metavar="PORT", type=how_many(0, 65535), default=FrontSettings.ops_port,
        env_var="FANMAIL_OPS_PORT",
        help="operations port of the first front; the others follow, 0 picks free ones "
        "[default %(default)s, FANMAIL_OPS_PORT]",
    )  # fmt: skip
    group.add_argument(
        "--run-dir", metavar="PATH", default=Settings().run_dir, env_var="FANMAIL_RUN_DIR",
        help="private directory for sockets and locks; default as for all commands [FANMAIL_RUN_DIR]",
    )  # fmt: skip
    group.add_argument(
        "--api-keys-file", metavar="PATH", default="", env_var="FANMAIL_API_KEYS_FILE",
        help="TOML file of API keys, which fronts then require [FANMAIL_API_KEYS_FILE]",
    )  # fmt: skip


if __name__ == "__main__":
    run_service(main, PROG)
