"""The loop: scheduled work, poll, receive a burst, dispatch, commit, reply. One thread, one ROUTER socket."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import zmq

from broker.dispatch.dispatcher import Dispatcher
from broker.dispatch.reply import Outgoing
from broker.dispatch.request_log import SLOW_US
from broker.records import Record
from broker.server.commit_times import count_commit
from broker.server.description import Description
from broker.server.listener import Listener
from broker.server.loading import load
from broker.server.moving import Moving
from broker.server.outbox import Outbox
from broker.server.process import Process
from broker.server.settling import Settling
from broker.server.succession import HAND_OVER_US, LAST_BURST_US, Succession, succession_of
from broker.server.ticks import BLOCKED_TICK_MS, DRAINING_TICK_MS, RECLAIM_TICK_MS, TICK_MS
from broker.store.backup_job import BackupJobs
from broker.store.base import Store
from common.clock import Clock, Now
from common.process.descriptors import drain_fd
from common.process.log_queue import dropped_lines
from common.protocol import stats
from common.protocol.wire import BrokerState

log = logging.getLogger("fanmail.broker")

BURST = 256
"""Messages received before any is answered: enough to share a commit, few enough not to make a front wait."""
BURST_BYTES = 32 * 1024 * 1024


class Server:
    """The loop of one broker. `run` returns after `stop`, when every front knows that this broker is stopping."""

    def __init__(
        self,
        listener: Listener,
        dispatcher: Dispatcher,
        store: Store,
        clock: Clock,
        process: Process,
        backups: BackupJobs | None = None,
        goodbye_timeout: float = 0.0,
    ) -> None:
        """Create the loop.

        `backups` makes copies of the store. A stopping broker waits `goodbye_timeout` seconds for its fronts to say
        goodbye.
        """
        self._listener = listener
        self._dispatcher = dispatcher
        self._store = store
        self._clock = clock
        self._process = process
        self._backups = backups
        self._goodbye_timeout = goodbye_timeout
        self._log = dispatcher.request_log
        self._outbox = Outbox(listener.socket, dispatcher, clock)
        self._stopping = self._reloading = False
        self._drain_ends = self._next_housekeeping = 0
        """Microseconds of the monotonic clock."""
        self._tick_ms = TICK_MS
        self._moving: Moving | None = None
        self._description = Description(process, listener, dispatcher)
        self._committing = 0
        """Microseconds of commits in this turn."""
        self._begun: list[int] = []
        """When each message of this turn was begun, and when the last was done."""
        dispatcher.context.cuts = [] if store.fenced else None
        self._settling = Settling(store, dispatcher, self._outbox, clock, process.wake_fd, self._receive, self._give_up)
        self._succession = succession_of(store, dispatcher, self._outbox, clock, process.new_life)
        self._poller = zmq.Poller()
        for source in (*listener.sockets, process.wake_fd, *self._settling.sources):
            self._poller.register(source, zmq.POLLIN)

    def attach(self, moving: Moving) -> None:
        """Let slots move; called before `load`. Else the description says which slots this broker owns."""
        self._moving = moving
        self._description.links = moving.links
        moving.links.attach(self._poller)

    def stop(self) -> None:
        """Ask the loop to drain and return. Safe in a signal handler that also makes `wake_fd` readable."""
        self._stopping = True

    def reload(self) -> None:
        """Ask the loop to read the description again. Safe in the same way."""
        self._reloading = True

    def run(self) -> None:
        """Serve until stopped. Raise `StoreError`: then no request of the burst is answered."""
        while not self._finished():
            if self._succession is not None:
                self._succeed(self._succession)
            self._store_work()
            burst = self._receive()
            if not burst:
                self._wait()
                burst = self._receive()
            self._work(burst)
            self._outbox.retry_blocked()
            self._housekeeping()
        if self._moving is not None:
            self._moving.close()
        if self._succession is not None and self._succession.leave():
            self._settling.wait(self._clock.now().mono)

    @property
    def handed_over(self) -> bool:
        """Return whether the loop has ended because another candidate is to own the log."""
        return self._succession is not None and self._succession.to is not None

    def load(self) -> None:
        """Load the store; answer meanwhile that this broker is loading.

        Ends early when it is asked to stop. Raises `UnusableStoreError`.
        """
        self._dispatcher.state = BrokerState.LOADING
        if load(self._store, self._dispatcher.context.state, self._look_while_loading):
            for each in self._store.lost:
                self._dispatcher.context.set_aside(each.id, each.messages, each.reason)
            self._dispatcher.state = BrokerState.READY if self._succession is None else BrokerState.STANDBY
            self._begin_moving(self._succession is None)

    def _begin_moving(self, owns: bool) -> None:
        if self._moving is not None and owns:
            self._moving.begin(self._clock.now())

    def _look_while_loading(self) -> bool:
        self._answer(self._receive())
        self._outbox.retry_blocked()
        return not self._stopping

    def _wait(self) -> None:
        for source, _ in self._poller.poll(self._patience()):
            if source == self._process.wake_fd:
                drain_fd(self._process.wake_fd)

    def _patience(self) -> int:
        """Return the milliseconds that the loop may wait."""
        if self._backups is not None and self._backups.busy:
            return 0
        most: float = BLOCKED_TICK_MS if self._outbox.peers.any_blocked else self._tick_ms
        if self._dispatcher.state is BrokerState.DRAINING:
            most = min(most, DRAINING_TICK_MS)
        if self._succession is not None:
            most = math.ceil(min(most, self._succession.wait_ms))
        if self._moving is not None:
            most = self._moving.wait_ms(most)
        wait = self._dispatcher.patience(self._clock.now())
        return int(most if wait is None else max(0, min(most, math.ceil(wait))))

    def _receive(self) -> list[list[bytes]]:
        burst: list[list[bytes]] = []
        size = 0
        self._listener.turn()
        try:
            for _ in range(BURST):
                parts = self._listener.receive()
                if parts:
                    size += sum(map(len, parts))
                    burst.append(parts)
                if size >= BURST_BYTES:
                    break
        except zmq.Again:
            pass
        return burst

    def _succeed(self, succession: Succession) -> None:
        """Follow the replicated log, and take over or hand over where it is time."""
        if succession.turn():
            self._next_housekeeping = 0  # of another clock
            self._begin_moving(True)
        if succession.to is not None:
            self._stopping = True

    def _store_work(self) -> None:
        """Ask the store for the bytes that may be written, and copy some of a backup."""
        self._dispatcher.context.writable_bytes = self._store.writable_bytes()
        if self._backups is not None:
            self._backups.step()

    def _work(self, burst: list[list[bytes]]) -> None:
        began, self._committing = self._clock.now(), 0
        self._dispatcher.run_due(began)
        if self._moving is not None and not self._stopping:
            self._moving.turn(began)
        self._answer(burst)
        took = self._clock.now().mono - began.mono
        if took > SLOW_US:
            for parts, begun, done in zip(burst, self._begun, self._begun[1:], strict=False):
                if done - begun > SLOW_US:
                    self._log.slow_message(parts[1:], done - begun)
            self._log.slow_turn(len(burst), took, self._committing)

    def _answer(self, burst: list[list[bytes]]) -> None:
        """Dispatch, commit once, and only then reply; in parts where there are very many bytes of replies."""
        replies: dict[bytes, list[Outgoing]] = {}
        size, self._begun = 0, []

        def spill(early: list[Outgoing]) -> Now:
            replies.setdefault(peer_id, []).extend(early)
            self._settle(replies)
            return self._clock.now()

        for peer_id, *frames in burst:
            now = self._clock.now()
            self._begun.append(now.mono)
            arrived = self._dispatcher.handle(frames, now, peer_id, spill)
            self._outbox.peers.heard(peer_id, now.mono, arrived.goodbye)
            replies.setdefault(peer_id, []).extend(arrived.replies)
            size += sum(len(each.body) for each in arrived.replies if each.body is not None)
            if size > self._dispatcher.context.thresholds.spilled_bytes:
                self._settle(replies)
                size = 0
        now = self._clock.now()
        self._begun.append(now.mono)
        for peer_id, answer in self._dispatcher.turn(now):
            replies.setdefault(peer_id, []).append(answer)
        self._settle(replies)

    def _settle(self, replies: dict[bytes, list[Outgoing]]) -> None:
        """Commit what has changed, then send the replies and empty the dictionary."""
        if self._succession is None or self._succession.owns:
            cuts = self._dispatcher.context.take_cuts()
            records = self._dispatcher.context.take_records()
            must = self._store.fenced and self._must_begin()
            if self._succession is not None and not must:
                records = self._succession.keep(records)
            if records or must:
                self._commit(records, cuts)
            self._dispatcher.executed = 0
        for peer_id, outgoing in replies.items():
            self._outbox.reply(peer_id, outgoing)
        self._dispatcher.traffic.refusals.left()
        replies.clear()

    def _must_begin(self) -> bool:
        beat = self._succession is not None and self._succession.heartbeat_due
        return self._dispatcher.executed > 0 or beat

    def _commit(self, records: list[Record], cuts: Sequence[int]) -> None:
        began = self._clock.mark()
        self._store.begin(records, began, cuts)
        if not self._store.settled():
            self._settling.wait(began.mono)
        took = self._clock.now().mono - began.mono
        self._committing += took
        count_commit(self._dispatcher.counters, took, self._store.synced_us, self._store.fenced)
        self._dispatcher.context.state.bodies.shrink(self._store.stored_piece)

    def _give_up(self, began: int) -> bool:
        """Do the housekeeping while a burst is under way, since `began`.

        Return whether a broker that was asked to stop has waited long enough for it. One that is begun at the end of
        the drain, as the heartbeat of a candidate, has its time too.
        """
        self._housekeeping()
        until = max(self._drain_ends, began + LAST_BURST_US)
        return self._dispatcher.state is BrokerState.DRAINING and self._clock.now().mono >= until

    def _housekeeping(self) -> None:
        now = self._clock.now()
        if self._stopping and self._dispatcher.state is not BrokerState.DRAINING:
            self._start_drain(now.mono)
        if self._reloading:
            self._reloading = False
            self._description.read()
        if now.mono < self._next_housekeeping:
            return
        self._tick_ms = RECLAIM_TICK_MS if self._store.reclaim() else TICK_MS
        self._next_housekeeping = now.mono + self._tick_ms * 1000
        self._process.look_around()
        if self._backups is not None:
            self._backups.expire(now.mono)
        self._outbox.forget_silent(now.mono)
        self._dispatcher.counters[stats.LOG_LINES_DROPPED] = dropped_lines()
        self._listener.report(now.mono)
        self._description.look()

    def _start_drain(self, mono: int) -> None:
        """Execute nothing from now on and tell every front, which says goodbye after its last request."""
        self._dispatcher.state = BrokerState.DRAINING
        patience_us = int(self._goodbye_timeout * 1e6)
        self._drain_ends = mono + (min(patience_us, HAND_OVER_US) if self.handed_over else patience_us)
        self._outbox.announce()

    def _finished(self) -> bool:
        if self._dispatcher.state is not BrokerState.DRAINING:
            return False
        heard_all = not self._outbox.peers.expected() and not self._outbox.peers.any_blocked
        return heard_all or self._clock.now().mono >= self._drain_ends
