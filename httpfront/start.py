"""`python -m httpfront.start [N]`, which is `bin/start-fronts`: the fronts of this host, supervised."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from typing import Any

from common import config_sources
from common.cluster.description import has_brokers, load_cluster
from common.command_line import About
from common.config import DEFAULT_FRONTS, FrontSettings
from common.keys.api_keys import read_keys
from common.keys.curve import check_front, front_pair
from common.process.folders import private_dir
from common.process.front_ports import await_fronts, check_apart, check_ports, ports_of
from common.process.log import setup_logging
from common.process.readiness import die_with_parent
from common.process.start import how_many, run_service
from common.process.supervise import Child, Supervisor
from common.process.variables import warn_of_misspelt_variables
from httpfront.settings import check_memory, check_streams

PROG = "start-fronts"
ABOUT = About(
    "Run HTTP fronts on this host in the foreground, and restart those that end. SIGTERM or Ctrl-C stops them.",
    ("4 --port 8100", "2 --host 0.0.0.0 --api-keys-file api-keys.toml"),
    "[N]",
)
STOP_MARGIN_S = 4.0
"""Seconds after its drain until a front is killed."""

log = logging.getLogger("fanmail.supervise")


def positional(parser: Any) -> None:
    """Add N to the command line."""
    parser.add_argument(
        "fronts",
        nargs="?",
        metavar="N",
        type=how_many(1, 64),
        default=DEFAULT_FRONTS,
        help=f"fronts to start; front n listens on --port + n and --ops-port + n [default {DEFAULT_FRONTS}]",
    )


def main() -> int:
    """Run the fronts until SIGTERM or SIGINT. Raises `StartError`."""
    die_with_parent()
    settings, arguments = config_sources.load(FrontSettings, PROG, sys.argv[1:], positional, ABOUT)
    setup_logging(settings.log_format, settings.log_level, PROG)
    warn_of_misspelt_variables(log)
    check_memory(settings)
    check_streams(settings)
    settings = replace(settings, run_dir=str(private_dir(settings.run_dir)))
    if has_brokers(settings):
        check_front(front_pair(settings.curve_dir), load_cluster(settings.config, insecure=settings.insecure))
    if settings.api_keys_file:
        read_keys(settings.api_keys_file)
    ports = ports_of(settings.port, arguments.fronts)
    ops_ports = ports_of(settings.ops_port, arguments.fronts, "--ops-port")
    check_apart(ports, ops_ports)
    await_fronts(settings.run_dir, settings.host, ports, settings.start_timeout)
    check_ports(settings.host, ports)
    check_ports(settings.ops_host, ops_ports)
    children = [_child(settings, n, *each) for n, each in enumerate(zip(ports, ops_ports, strict=True))]
    return Supervisor(children, log, settings.drain_timeout + settings.drain_idle + STOP_MARGIN_S).run()


def _child(settings: FrontSettings, number: int, port: int, ops_port: int) -> Child:
    flags = config_sources.as_flags(settings, FrontSettings, port=port, ops_port=ops_port)
    return Child(f"front-{port or number}", [sys.executable, "-m", "httpfront", *flags])


if __name__ == "__main__":
    run_service(main, PROG)
