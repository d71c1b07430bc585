"""Readiness and stopping of a process, as told to its supervisor and to systemd."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

from common.process.environment import NOTIFY_SOCKET, READY_FD, SUPERVISOR
from common.process.locks import mark_stopping

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Make the kernel send SIGTERM to this process when its supervisor dies (on Linux).

    SIGHUP, which supervisors pass on and `systemctl reload` sends, is ignored until a handler is set. Raises
    `SystemExit` if the supervisor has died already. Without a supervisor this does nothing: a process started with
    nohup must outlive its shell.
    """
    supervisor = os.environ.get(SUPERVISOR)
    if supervisor is not None or NOTIFY_SOCKET in os.environ:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if supervisor is None:
        return
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if str(os.getppid()) != supervisor:  # it died before prctl
        raise SystemExit(1)


def on_hangup(reload: Callable[[], object], stop: Callable[[], object]) -> Callable[[], None]:
    """Return a handler of SIGHUP: `reload`, or `stop` if the terminal of this process was closed."""
    terminal = os.isatty(0)

    def hung_up() -> None:
        (stop if terminal and not os.isatty(0) else reload)()

    return hung_up


def announce_ready() -> None:
    """Tell the supervisor, or else systemd, that this process is ready. Only the first call tells the supervisor."""
    notify_systemd("READY=1")
    text = os.environ.pop(READY_FD, "")
    if not text.isdigit():
        return
    try:
        os.write(int(text), b"1\n")
        os.close(int(text))
    except OSError:  # the supervisor has died, which die_with_parent handles
        pass


def announce_stopping() -> None:
    """Tell systemd, and processes that wait for the locks, that this process is stopping. Safe in a signal handler."""
    mark_stopping()
    notify_systemd("STOPPING=1")


def notify_systemd(state: str) -> None:
    """Send a state to the socket named by `NOTIFY_SOCKET`, by the protocol of sd_notify(3).

    Does nothing without such a socket. Never blocks or fails.
    """
    path = os.environ.get(NOTIFY_SOCKET, "")
    if not path.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)
