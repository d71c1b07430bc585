"""`python -m httpfront`: one front process."""

from __future__ import annotations

import gc
import logging
import sys
from dataclasses import replace

from common import config_sources
from common.command_line import About
from common.config import FrontSettings
from common.process.descriptors import raise_limit
from common.process.folders import private_dir
from common.process.front_ports import check_apart, front_lock
from common.process.locks import hold_lock
from common.process.log import setup_logging
from common.process.orphans import leave_orphans_to_the_kernel
from common.process.readiness import announce_ready, die_with_parent
from common.process.start import run_service
from common.process.variables import warn_of_misspelt_variables
from httpfront.front import Front
from httpfront.middleware.host_names import is_loopback
from httpfront.settings import OTHER_FILES, check_streams, servable

ABOUT = About("Run one HTTP front, unsupervised.", ("--port 8100 --config /etc/fanmail/cluster.toml",))

log = logging.getLogger("fanmail.front")


def main() -> int:
    """Serve until SIGTERM or SIGINT, then drain. Raises `StartError`."""
    die_with_parent()
    leave_orphans_to_the_kernel()
    settings, _ = config_sources.load(FrontSettings, "front", sys.argv[1:], about=ABOUT)
    check_apart([settings.port], [settings.ops_port])
    name = f"front-{settings.port}"
    setup_logging(settings.log_format, settings.log_level, name)
    warn_of_misspelt_variables(log)
    run_dir = private_dir(settings.run_dir)
    if settings.port:
        hold_lock(front_lock(run_dir, settings.host, settings.port), settings.start_timeout)
    check_streams(settings)
    wanted, settings = settings.connections, replace(settings, connections=servable(settings.connections))
    front = Front(settings, name)
    front.take_signals()
    log.info("serving", extra=_where(settings, front.public.port, front.admin.port))
    warn_of_open_access(settings)
    _warn_of_files(wanted, settings.connections)
    announce_ready()
    # What is there now stays. Requests leave no cycles, so that what is counted here hardly grows.
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 20, 100)
    front.run()
    log.info("stopped")
    return 0


def _where(settings: FrontSettings, port: int, ops_port: int) -> dict[str, object]:
    host, ops_host = ", ".join(settings.host), ", ".join(settings.ops_host)
    return {"host": host, "port": port, "ops_host": ops_host, "ops_port": ops_port}


def warn_of_open_access(settings: FrontSettings) -> None:
    """Warn where a port beyond loopback requires no key.

    Over plain HTTP, browsers do not say there which page a request comes from.
    """
    beyond = sorted({host for host in (*settings.host, *settings.ops_host) if not is_loopback(host)})
    if beyond and not settings.api_keys_file:
        log.warning(
            "there is no authentication: every client that reaches these addresses, and every web page that it opens, "
            "has full access; over plain HTTP this front is safe only with keys (--api-keys-file)",
            extra={"addresses": ", ".join(beyond)},
        )


def _warn_of_files(wanted: int, served: int) -> None:
    if served < wanted:
        needed = 2 * wanted + OTHER_FILES
        about = {"limit": raise_limit(needed), "wanted": wanted, "served": served, "needed": needed}
        log.warning("the limit of open files is too low for --connections: fewer are served", extra=about)


if __name__ == "__main__":
    run_service(main, "front")
