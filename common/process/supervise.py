"""Keep child processes running: start, restart and stop them. One loop, no threads.

Children have process groups of their own, so that Ctrl-C on a terminal reaches only the supervisor. The children of a
supervisor that is supervised itself stay in its group, so that SIGKILL to the group kills all of them.
"""

from __future__ import annotations

import logging
import math
import os
import selectors
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from common.clock import SystemClock
from common.process.environment import NOTIFY_SOCKET, READY_FD, SUPERVISOR
from common.process.locks import LostLockError
from common.process.orphans import reap_orphans
from common.process.readiness import announce_ready, announce_stopping, on_hangup
from common.process.start import AGAIN

FIRST_DELAY_S, MAX_DELAY_S = 0.2, 5.0
"""Delay before a child is restarted: at first, and the maximum after doubling."""
STEADY_S = 10.0
"""Uptime after which the delay is reset."""
REPEAT_S = 0.5
"""Time in which a second SIGTERM or SIGINT is the same request: timeout(1) and process groups send two."""
LOOK_EVERY_S = 1.0
"""Interval of `look_around`."""
UNUSABLE = 2
"""Exit code of a child that cannot start: an invalid setting, a port in use."""


@dataclass(frozen=True)
class Child:
    """A process to keep running: its name in the log and its command line."""

    name: str
    argv: list[str]


@dataclass
class Backoff:
    """The delay before the next start of one child."""

    delay: float = 0.0

    def after(self, uptime: float) -> float:
        """Return the seconds to wait after a run of `uptime` seconds."""
        self.delay = FIRST_DELAY_S if not self.delay or uptime >= STEADY_S else min(self.delay * 2, MAX_DELAY_S)
        return self.delay


@dataclass
class _Slot:
    """One child and its current process, if any. Times are seconds of the monotonic clock."""

    child: Child
    process: subprocess.Popen[bytes] | None = None
    ready_fd: int = -1
    """Where the current process announces that it is ready; -1 after that."""
    ready: bool = False
    """Whether any process of this child was ever ready."""
    hung_up: bool = False
    """SIGHUP came before the current process was ready: it may have read its files earlier."""
    started: float = 0.0
    start_at: float | None = None
    kill_at: float | None = None
    backoff: Backoff = field(default_factory=Backoff)

    def about(self) -> dict[str, object]:
        """Return fields for the log."""
        return {"child": self.child.name, "pid": self.process.pid if self.process else None}


class Supervisor:
    """Runs `children` until SIGTERM or SIGINT.

    Each child announces on a pipe that it is ready (`announce_ready`). When all have been ready once, `on_ready` is
    called and the supervisor of this process is told. A child that exits is restarted after a delay. Stopping sends
    SIGTERM, and SIGKILL after `stop_timeout` seconds; a second request to stop kills at once. With `in_order` each
    child is started when the previous one is ready, and they are stopped one by one in reverse order. `look_around` is
    called every second; if it raises `LostLockError`, all children are stopped. SIGHUP is passed on to children as soon
    as they are ready; SIGHUP of a closed terminal stops them.
    """

    def __init__(
        self,
        children: Sequence[Child],
        log: logging.Logger,
        stop_timeout: float = 15.0,
        in_order: bool = False,
        on_ready: Callable[[], object] | None = None,
        look_around: Callable[[], object] | None = None,
    ) -> None:
        self._slots = [_Slot(child) for child in children]
        self._log = log
        self._stop_timeout = stop_timeout
        self._in_order = in_order
        self._on_ready = on_ready
        self._look_around = look_around
        self._look_at = 0.0 if look_around else math.inf
        self._clock = SystemClock()
        self._selector = selectors.DefaultSelector()
        self._own_groups = SUPERVISOR not in os.environ
        self._hung_up = on_hangup(self._hang_up, self._asked_to_stop)
        self._stopped_at: float | None = None
        self._code = 0

    def run(self) -> int:
        """Run until stopped.

        Returns 0 after a requested stop, 2 if a child exited with 2 before it was ever ready, 1 if another process was
        started in place of this one. Installs signal handlers: call it once, from the main thread.
        """
        self._take_signals()
        for slot in self._slots[:1] if self._in_order else self._slots:
            slot.start_at = self._now()
        while self._stopped_at is None or any(slot.process for slot in self._slots):
            self._do_due()
            for key, _ in self._selector.select(self._until_due()):
                key.data()
        for number in (signal.SIGTERM, signal.SIGINT):  # nothing is left to stop
            signal.signal(number, signal.SIG_IGN)
        return self._code

    def _now(self) -> float:
        return self._clock.now().mono / 1e6

    def _take_signals(self) -> None:
        self._signals, write_end = os.pipe()
        for end in (self._signals, write_end):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        top = self._own_groups and NOTIFY_SOCKET not in os.environ  # no parent has made SIGHUP ignored
        nohup = top and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, *(() if nohup else (signal.SIGHUP,))):
            signal.signal(number, lambda *_: None)
        self._selector.register(self._signals, selectors.EVENT_READ, self._on_signals)

    def _on_signals(self) -> None:
        received = set(os.read(self._signals, 4096))
        if received & {signal.SIGTERM, signal.SIGINT}:
            self._asked_to_stop()
        if signal.SIGHUP in received:
            self._hung_up()
        for slot in self._slots:
            if slot.process and slot.process.poll() is not None:
                self._exited(slot, slot.process.returncode)
        reap_orphans({slot.process.pid for slot in self._slots if slot.process})

    def _hang_up(self) -> None:
        for slot in self._slots:
            slot.hung_up = slot.ready_fd >= 0
        self._send(signal.SIGHUP, [slot for slot in self._slots if not slot.hung_up])

    def _asked_to_stop(self) -> None:
        if self._stopped_at is None:
            self._stop(0)
        elif self._now() - self._stopped_at > REPEAT_S:
            self._log.warning("stop requested again: killing the remaining children")
            self._send(signal.SIGKILL, self._slots)

    def _stop(self, code: int) -> None:
        self._stopped_at, self._code = self._now(), code
        announce_stopping()
        for slot in self._slots:
            slot.start_at = None
        self._stop_next()

    def _stop_next(self) -> None:
        running = [slot for slot in reversed(self._slots) if slot.process]
        due = [slot for slot in (running[:1] if self._in_order else running) if slot.kill_at is None]
        for slot in due:
            slot.kill_at = self._now() + self._stop_timeout
        self._send(signal.SIGTERM, due)

    def _send(self, number: signal.Signals, slots: Sequence[_Slot]) -> None:
        send = os.killpg if self._own_groups and number == signal.SIGKILL else os.kill
        for slot in slots:
            if slot.process:  # not reaped yet, so the id is still valid
                with suppress(ProcessLookupError):
                    send(slot.process.pid, number)

    def _until_due(self) -> float | None:
        times = [at for slot in self._slots for at in (slot.start_at, slot.kill_at) if at is not None]
        first = min([*times, self._look_at])
        return max(0.0, first - self._now()) if first < math.inf else None

    def _do_due(self) -> None:
        now = self._now()
        if self._look_at <= now:
            self._look(now)
        for slot in self._slots:
            if slot.start_at is not None and slot.start_at <= now:
                self._start(slot)
            if slot.kill_at is not None and slot.kill_at <= now:
                self._log.warning("did not stop in time: killed", extra=slot.about())
                slot.kill_at = math.inf
                self._send(signal.SIGKILL, [slot])

    def _look(self, now: float) -> None:
        self._look_at = now + LOOK_EVERY_S
        try:
            if self._look_around and self._stopped_at is None:
                self._look_around()
        except LostLockError as error:
            self._log.critical("another process was started in place of this one", extra={"reason": str(error)})
            self._stop(1)

    def _start(self, slot: _Slot) -> None:
        slot.start_at, slot.started, slot.hung_up = None, self._now(), False
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        environ = {**os.environ, READY_FD: str(write_end), SUPERVISOR: str(os.getpid())}
        environ.pop(NOTIFY_SOCKET, None)  # only this process reports to systemd
        group = 0 if self._own_groups else None
        try:
            slot.process = subprocess.Popen(slot.child.argv, env=environ, pass_fds=[write_end], process_group=group)
        except OSError as error:
            os.close(read_end)
            self._start_later(slot, f"not started: {error.strerror}")
            return
        finally:
            os.close(write_end)
        slot.ready_fd = read_end
        self._selector.register(read_end, selectors.EVENT_READ, partial(self._hear, slot))
        self._log.debug("started", extra=slot.about())

    def _hear(self, slot: _Slot) -> None:
        """Read the readiness pipe of a process, which is closed when it exits."""
        if slot.ready_fd < 0:
            return
        try:
            said = os.read(slot.ready_fd, 16)
        except BlockingIOError:  # no data yet; a child of the process holds the pipe open
            said = b""
        self._selector.unregister(slot.ready_fd)
        os.close(slot.ready_fd)
        slot.ready_fd = -1
        if said and slot.hung_up:
            self._send(signal.SIGHUP, [slot])
        if said and not slot.ready:
            slot.ready = True
            if self._stopped_at is None:
                self._one_more_ready()

    def _one_more_ready(self) -> None:
        waiting = [slot for slot in self._slots if not slot.ready]
        if waiting and self._in_order:
            waiting[0].start_at = self._now()
        if not waiting:
            if self._on_ready:
                self._on_ready()
            announce_ready()

    def _exited(self, slot: _Slot, code: int) -> None:
        self._hear(slot)
        if self._stopped_at is None and (code != UNUSABLE or slot.ready):
            self._start_later(slot, f"exit code {code}" if code >= 0 else _signal_name(-code), code)
        slot.process, slot.kill_at = None, None
        if self._stopped_at is not None:
            self._stop_next()
        elif slot.start_at is None:  # it has reported the reason on standard error
            self._stop(UNUSABLE)

    def _start_later(self, slot: _Slot, status: str, code: int = 1) -> None:
        uptime = self._now() - slot.started
        delay = 0.0 if code == AGAIN and uptime >= FIRST_DELAY_S else slot.backoff.after(uptime)
        slot.start_at = self._now() + delay
        self._log.warning("exited, will be restarted", extra={**slot.about(), "status": status, "delay": delay})


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
