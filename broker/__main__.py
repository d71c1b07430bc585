"""`python -m broker`: one broker process. The composition root: everything is built here and passed in."""

from __future__ import annotations

import gc
import logging
import os
import resource
import secrets
import signal
import sys
import time
from functools import partial

from broker.dispatch.dispatcher import Dispatcher
from broker.dispatch.identity import Identity
from broker.dispatch.request_log import RequestLog
from broker.dispatch.traffic import Traffic
from broker.errors import DeposedError, ReplicaError, StoreError, UnusableStoreError
from broker.opening import OpenStore, open_store, was_left_out
from broker.operations.context import Context
from broker.operations.limits import Limits
from broker.server.links import BrokerLinks, admitted
from broker.server.listener import Listener
from broker.server.loop import Server
from broker.server.moving import Moving
from broker.server.process import Process
from broker.server.process_locks import ProcessLocks
from broker.server.unix_socket import NEEDED
from broker.state.body_cache import BodyCache
from broker.state.state import State
from broker.state.topic_settings import TopicRules, parse_rules
from broker.store.backup_job import BackupJobs
from broker.store.base import Store
from broker.store_settings import check_candidate
from common import config_sources
from common.clock import Mark, SystemClock, stopwatch
from common.cluster.description import description_path, load_cluster
from common.cluster.slots import BrokerAddress, ClusterMap
from common.command_line import About
from common.config import BrokerSettings
from common.errors import StartError
from common.keys.curve import KeyPair, broker_pair
from common.process.descriptors import free_descriptors, lower_limit, raise_limit
from common.process.folders import private_dir
from common.process.locks import LostLockError
from common.process.log import setup_logging
from common.process.orphans import leave_orphans_to_the_kernel
from common.process.readiness import announce_ready, announce_stopping, die_with_parent, on_hangup
from common.process.start import AGAIN, run_service
from common.toml_file import read_toml
from common.units import MIB

LEAST_WINDOW, WINDOW_PART = 32 * MIB, 8
"""Bytes of bodies, and of answers, that may be in transit for all fronts together: the minimum, and the part of the
memory.
"""

ABOUT = About("Run one broker, unsupervised.", ("--id b0 --config /etc/fanmail/cluster.toml",))

log = logging.getLogger("fanmail.broker")

MOST_STRANGERS = 1024
"""Open files of a broker that listens on a network: limits what unauthenticated peers can make it hold."""
MOST_FILES = 16_384
"""Open files of any other broker, where the hard limit allows it."""
FRAME_MARGIN = 6 * 1024 * 1024
"""Bytes that a frame may have beyond the largest body: packed requests, headers, names, the table of a moved batch."""


def main(durable: OpenStore | None = None) -> int:
    """Serve until SIGTERM or SIGINT, perhaps with a store from `durable`; return the exit code. Raise `StartError`."""
    die_with_parent()
    leave_orphans_to_the_kernel()
    settings, _ = config_sources.load(BrokerSettings, "broker", sys.argv[1:], about=ABOUT)
    setup_logging(settings.log_format, settings.log_level, process_name(settings))
    run_dir = private_dir(settings.run_dir)
    cluster = load_cluster(description_path(settings), insecure=settings.insecure)
    check_candidate(settings)
    address = cluster.address(settings.id, settings.candidate)
    pair = broker_pair(settings.curve_dir, address)
    locks = ProcessLocks(run_dir, address.name, address.endpoint, settings.start_timeout)
    try:
        store = open_store(settings, cluster, durable)
    except StoreError as error:
        log.critical("the store cannot be opened", extra={"reason": str(error)})
        return 1
    listener = build_listener(settings, cluster, pair)
    code = 1
    try:
        code = run(settings, cluster, listener, store, locks, pair)
    finally:
        if code != 1 or store.fenced:  # after an error a file is left as it is, and a candidate writes what is settled
            close(store)
    log.info("stopped")
    return code


def run(
    settings: BrokerSettings,
    cluster: ClusterMap,
    listener: Listener,
    store: Store,
    locks: ProcessLocks,
    pair: KeyPair | None,
) -> int:
    """Serve with this store until stopped; return the exit code. Raise `StartError`."""
    backups = BackupJobs(store)
    server, state = build_server(settings, cluster, listener, store, backups, locks, pair)
    check_descriptors()
    listener.bind(cluster.endpoint(settings.id, settings.candidate))
    try:
        load(server, state, settings, cluster)
        serve(server, locks)
    except ReplicaError as error:
        log.critical("this candidate cannot go on with its log", extra={"reason": str(error)})
        return AGAIN if was_left_out(settings, error) else 1
    except DeposedError as error:
        log.warning("deposed: this process starts again as a standby", extra={"reason": str(error)})
        return AGAIN
    except UnusableStoreError as error:
        raise StartError(str(error)) from None
    except StoreError as error:
        log.critical("the store failed; no request of the last burst was answered", extra={"reason": str(error)})
        return 1
    except LostLockError as error:
        log.critical("another broker has been started in the place of this one", extra={"reason": str(error)})
        return 1
    except StartError:
        raise
    except Exception:  # a bug; the state may be half-changed, the next process starts from what is stored
        log.critical("a broken invariant ends the broker; no request of the last burst was answered", exc_info=True)
        return 1
    finally:
        backups.cancel()
    listener.close()
    return AGAIN if server.handed_over else 0


def close(store: Store) -> None:
    """Close the store; a candidate's writes what is settled."""
    try:
        store.close()
    except StoreError as error:
        log.critical("the store could not be closed", extra={"reason": str(error)})


def process_name(settings: BrokerSettings) -> str:
    """Return the name of this process in logs."""
    return BrokerAddress(settings.id, "", host=settings.candidate).name


def build_listener(settings: BrokerSettings, cluster: ClusterMap, pair: KeyPair | None) -> Listener:
    """Build the listener, not bound yet, and set the limit of open files. Raise `StartError`."""
    if cluster.endpoint(settings.id, settings.candidate).startswith("tcp://") and not pair:
        log.warning("plain TCP: anyone who can connect has full access and can exhaust memory")
    if pair:
        lower_limit(MOST_STRANGERS)
    else:
        raise_limit(MOST_FILES)
    return Listener(max(settings.max_body, settings.max_batch) + FRAME_MARGIN, pair, admitted(cluster, settings.id))


def load(server: Server, state: State, settings: BrokerSettings, cluster: ClusterMap) -> None:
    """Load the store. Raise `UnusableStoreError`."""
    began = time.monotonic()
    gc.disable()  # loading is faster without it, and creates no cycles
    server.load()
    gc.enable()
    spare_the_collector()
    about = {
        "endpoint": cluster.endpoint(settings.id, settings.candidate),
        "store": settings.store,
        "map_epoch": cluster.epoch,
        "messages": state.messages,
        "loaded_s": round(time.monotonic() - began, 3),
    }
    log.info("serving", extra=about)


def check_descriptors() -> None:
    """Raise `StartError` where there are too few descriptors to accept a single front."""
    short = NEEDED - free_descriptors()
    if short > 0:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        raise StartError(f"the limit of open files, {limit}, is too low: a broker needs {limit + short} (ulimit -n)")


def serve(server: Server, locks: ProcessLocks) -> None:
    """Run the server until it is stopped; announce when it is ready."""
    locks.serves()
    announce_ready()
    server.run()
    locks.leave()


def build_server(
    settings: BrokerSettings,
    cluster: ClusterMap,
    listener: Listener,
    store: Store,
    backups: BackupJobs,
    locks: ProcessLocks,
    pair: KeyPair | None,
) -> tuple[Server, State]:
    """Build the server and its state, which is still to be loaded, and install the signal handlers."""
    limits = _limits(settings)
    contents = BodyCache(store.read if store.durable else None, limits.memory // 2)
    state = State(_rules(settings, limits), contents, store.durable)
    identity = Identity(cluster.name, settings.id, _new_incarnation(), max(settings.max_body, settings.max_batch))
    context = Context(state, limits, counters=listener.counters, backup=backups.ask, read_backup=backups.read)
    traffic = Traffic(max(LEAST_WINDOW, limits.memory // WINDOW_PART))
    dispatcher = Dispatcher(context, identity, cluster, RequestLog(stopwatch), traffic)
    read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)

    clock, patience = SystemClock(store.clock), settings.goodbye_timeout

    def new_life(mark: Mark) -> int:
        clock.restart(mark, behind_ms=0)  # what was answered is in the log, with its time
        return _new_incarnation()

    process = Process(read_end, partial(reload_map, settings, cluster), locks.look, new_life)
    server = Server(listener, dispatcher, store, clock, process, backups, patience)
    server.attach(Moving(dispatcher, BrokerLinks(listener.context, cluster, pair)))

    def stop(*_: object) -> None:
        server.stop()
        announce_stopping()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    hung_up = on_hangup(server.reload, stop)
    signal.signal(signal.SIGHUP, lambda *_: hung_up())
    return server, state


def _new_incarnation() -> int:
    return secrets.randbits(62) + 1


def reload_map(settings: BrokerSettings, cluster: ClusterMap) -> ClusterMap | None:
    """Read the cluster description again; log and return None where it cannot be used."""
    try:
        newer = load_cluster(description_path(settings), insecure=settings.insecure)
    except StartError as error:
        log.error("the newer cluster description cannot be used", extra={"reason": str(error)})
        return None
    if cluster.address(settings.id, settings.candidate) not in newer.addresses:
        log.warning("this broker has another endpoint or key in the description now: restart it")
    return newer


def spare_the_collector() -> None:
    """Keep the garbage collector from stopping the loop.

    Pieces and subscriptions are not tracked by it. What is tracked (topics, dictionaries) has no cycles and may be a
    million objects: a full collection would stop the loop for a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 1_000_000)


def _limits(settings: BrokerSettings) -> Limits:
    return Limits(
        topics=settings.max_topics,
        subscriptions=settings.max_subscriptions,
        topic_messages=settings.max_messages,
        topic_bytes=settings.max_bytes,
        memory=settings.memory,
        leases=settings.max_leases,
        lease_window=settings.lease_window,
        dead=settings.max_dead,
        dead_bytes=settings.max_dead_bytes,
        delayed=settings.max_delayed,
        keys=settings.max_keys,
        key_bytes=settings.max_key_bytes,
        key_ttl=int(settings.key_ttl * 1e6),
        topic_share=settings.topic_share,
        subscription_share=settings.subscription_share,
    )


def _rules(settings: BrokerSettings, limits: Limits) -> TopicRules:
    """Build the ceilings of topics from the settings and their file.

    Raises `StartError` for a file that cannot be used.
    """
    path = settings.topics or settings.config
    tables = read_toml(path).get("topics", []) if path else []
    try:
        return TopicRules(limits.topic_settings, parse_rules(tables), tables)
    except ValueError as error:
        raise StartError(f"{path}: {error}") from None


if __name__ == "__main__":
    run_service(main)
