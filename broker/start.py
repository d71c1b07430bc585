"""`python -m broker.start [N]`, the program behind `bin/start-brokers`: the brokers of this host, supervised."""

from __future__ import annotations

import logging
import os
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from broker.errors import UnusableStoreError
from broker.store.sqlite.files import FILE, LOCK
from broker.store_settings import check_store_settings
from common import config_sources
from common.clock import SystemClock
from common.cluster.description import (
    DESCRIPTION,
    describe_local,
    description_path,
    has_brokers,
    load_cluster,
    parse_cluster,
)
from common.cluster.slot_table import format_table
from common.cluster.slots import BrokerAddress, ClusterMap
from common.command_line import About
from common.config import DEFAULT_BROKERS, BrokerSettings, StartBrokersSettings
from common.errors import StartError
from common.keys.curve import broker_pair
from common.process.folders import private_dir, write_file
from common.process.locks import await_lock, hold_lock, lock_to_look
from common.process.log import setup_logging
from common.process.readiness import die_with_parent
from common.process.run_dir import Keeper
from common.process.start import how_many, run_service
from common.process.supervise import Child, Supervisor
from common.process.variables import warn_of_misspelt_variables
from common.program import launcher

PROG = "start-brokers"
ABOUT = About(
    "Run the brokers of this host in the foreground, and restart those that end. SIGTERM or Ctrl-C stops them.",
    ("4", "2 --store sqlite --data /var/lib/fanmail --memory 4G"),
    "[N]",
)
LOCK_OF_ALL = "brokers.lock"
STOP_MARGIN = 5.0
"""Seconds that a broker has beyond its goodbye timeout before it is killed."""

log = logging.getLogger("fanmail.supervise")


def positional(parser: Any) -> None:
    """Add N to the command line."""
    parser.add_argument(
        "brokers",
        nargs="?",
        metavar="N",
        type=how_many(1, 64),
        help=f"brokers to start on this host over ipc [default {DEFAULT_BROKERS}]; "
        "not with a --config that has [[brokers]]",
    )


def main() -> int:
    """Run the brokers until SIGTERM or SIGINT and return the exit code. Raise `StartError`."""
    die_with_parent()
    settings, arguments = config_sources.load(StartBrokersSettings, PROG, sys.argv[1:], positional, ABOUT)
    setup_logging(settings.log_format, settings.log_level, PROG)
    warn_of_misspelt_variables(log)
    if settings.id != BrokerSettings.id:
        raise StartError("--id names a single broker: give --ids, with a --config that has [[brokers]]")
    check_store_settings(settings)
    described = has_brokers(settings)
    if described and arguments.brokers is not None:
        raise StartError(f"give either N or a --config with [[brokers]]: {settings.config} has them")
    run_dir = private_dir(settings.run_dir)
    settings = replace(settings, run_dir=str(run_dir), topics=settings.topics or settings.config)
    hold_lock(run_dir / LOCK_OF_ALL, settings.start_timeout)
    if not described:
        write_description(run_dir, arguments.brokers or DEFAULT_BROKERS, SystemClock().now().wall // 1000)
    path = description_path(settings)
    cluster = load_cluster(path, insecure=settings.insecure)
    check_data(settings, cluster)
    mine = chosen(cluster, settings.ids, settings.candidate)
    for address in mine:
        broker_pair(settings.curve_dir, address)
        if settings.data:  # made here, so that one line says what is wrong with it, not one line of each broker
            private_dir(Path(settings.data) / address.id, "store directory")
    children = [_child(settings, address, path) for address in mine]
    keeper = Keeper(run_dir, [run_dir / LOCK_OF_ALL])
    if not described:
        keeper.files[path] = path.read_text(encoding="utf-8")
    return Supervisor(children, log, settings.goodbye_timeout + STOP_MARGIN, look_around=keeper.look).run()


def write_description(run_dir: Path, brokers: int, now: int) -> None:
    """Write the description of `brokers` local brokers, atomically; `now` in seconds since 1970.

    A description of the same brokers stays; another one is followed by the next epoch, with the table of slots where
    their owners stay. Where there is none to read, the epoch is the time, which is above any epoch that a running front
    may still have. Raises `StartError` where the directory's path is too long for sockets.
    """
    path, table = run_dir / DESCRIPTION, ""
    try:
        wanted = parse_cluster(tomllib.loads(describe_local(brokers, run_dir)))
    except ValueError as error:
        raise StartError(f"run directory {run_dir}: {error}") from None
    try:
        old = load_cluster(path, insecure=True)
    except StartError:
        epoch = now
    else:
        if old.brokers == wanted.brokers:
            return
        epoch, ids = old.epoch + 1, [broker.id for broker in wanted.brokers]
        if old.explicit and set(old.owners) <= set(ids):
            table = "\n" + format_table(old.table, ids)
    write_file(path, describe_local(brokers, run_dir, epoch) + table)


def check_data(settings: StartBrokersSettings, cluster: ClusterMap) -> None:
    """Raise `StartError` where a store owns slots whose broker is not in the cluster: nobody could reach its topics.

    A broker without a store, beside others that have one, begins with no slots; a warning says so. Called before
    anything is started or created.
    """
    if settings.store == "memory" or not settings.data:
        return
    wanted = [broker.id for broker in cluster.brokers]
    mine = [address.id for address in chosen(cluster, settings.ids, settings.candidate)]
    stored = set()
    for path in sorted(Path(settings.data).glob(f"*/{FILE}")):
        broker_id = path.parent.name
        if broker_id in mine or broker_id not in wanted:
            await_lock(path.with_name(LOCK), settings.start_timeout)
            slots = _slots_of(path)
            stored.add(broker_id)
            if broker_id not in wanted and slots:
                raise StartError(
                    f"{path}: broker {broker_id} has slots, and the cluster is {', '.join(wanted)} now: start it too, "
                    f"and move its slots to the others first ({launcher('rebalance')} run --drain {broker_id})"
                )
    new = [each for each in mine if each not in stored]
    if stored and new:
        log.warning(
            f"new brokers begin with no slots: {launcher('rebalance')} run moves some to them", extra={"brokers": new}
        )


def _slots_of(path: Path) -> int:
    from broker.store.sqlite.read_only import probe_store  # brokers in memory start without it

    lock = lock_to_look(path.with_name(LOCK))
    try:
        found = probe_store(path)
    except UnusableStoreError as error:
        raise StartError(str(error)) from None
    finally:
        if lock is not None:
            os.close(lock)
    return found.slots if found else 0


def chosen(cluster: ClusterMap, ids: tuple[str, ...], host: str = "") -> list[BrokerAddress]:
    """Return the processes to start here: those of the brokers in `ids`, each once, or of all.

    `host` is that of this host's candidates, "" without candidates. Raises `StartError` for an unknown id or host.
    """
    if ids:
        return [cluster.address(broker_id, host) for broker_id in dict.fromkeys(ids)]
    found = [each for each in cluster.addresses if each.host == host]
    if not found:
        hosts = ", ".join(sorted({each.host for each in cluster.addresses if each.host}))
        raise StartError(
            f"--candidate {host or None!r} must be a host of the cluster description: {hosts}"
            if hosts
            else "the brokers of the cluster description have no candidates: leave --candidate out"
        )
    return found


def _child(settings: StartBrokersSettings, address: BrokerAddress, path: Path) -> Child:
    flags = config_sources.as_flags(settings, BrokerSettings, id=address.id, config=path)
    return Child(address.name, [sys.executable, "-m", "broker", *flags])


if __name__ == "__main__":
    run_service(main, PROG)
