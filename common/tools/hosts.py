"""`python -m common.tools.hosts`: the candidates of several hosts, started and stopped together on this one.

Started one host after the other, the first would own every log that it may own.
"""

from __future__ import annotations

import json
import logging
import sys

from common.process.log import setup_logging
from common.process.readiness import die_with_parent
from common.process.start import run_service
from common.process.supervise import Child, Supervisor

PROG = "hosts"
STOP_TIMEOUT = 40.0
"""Seconds for the brokers of a host to stop; each of them has a shorter limit of its own."""

log = logging.getLogger("fanmail.supervise")


def main() -> int:
    """Run what the argument lists, a JSON object of command lines by name, until SIGTERM or SIGINT."""
    die_with_parent()
    setup_logging("auto", "warning", PROG)
    children = [Child(name, argv) for name, argv in json.loads(sys.argv[1]).items()]
    return Supervisor(children, log, STOP_TIMEOUT).run()


if __name__ == "__main__":
    run_service(main, PROG)
