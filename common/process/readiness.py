"""What a process tells its supervisor and systemd, and what it does when they go away."""

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
    """A supervised process gets SIGTERM when its supervisor dies, however it dies (on Linux).

    It ignores SIGHUP, which supervisors pass on and `systemctl reload` sends, until it sets a handler. Raises
    `SystemExit` where the supervisor is gone already. Without a supervisor this does nothing: what was started
    with nohup must outlive its shell.
    """
    supervisor = os.environ.get(SUPERVISOR)
    if supervisor is not None or NOTIFY_SOCKET in os.environ:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if supervisor is None:
        return
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if str(os.getppid()) != supervisor:  # it died before the line above
        raise SystemExit(1)


def on_hangup(reload: Callable[[], object], stop: Callable[[], object]) -> Callable[[], None]:
    """What SIGHUP is to do: `reload`, or `stop` where it comes because the terminal of this process has been closed."""
    terminal = os.isatty(0)

    def hung_up() -> None:
        (stop if terminal and not os.isatty(0) else reload)()

    return hung_up


def announce_ready() -> None:
    """Tells the supervisor, if there is one, or else systemd that this process is ready. The supervisor is told once;
    further calls do nothing.
    """
    notify_systemd("READY=1")
    text = os.environ.pop(READY_FD, "")
    if not text.isdigit():
        return
    try:
        os.write(int(text), b"1\n")
        os.close(int(text))
    except OSError:  # the supervisor is gone: die_with_parent sees to that
        pass


def announce_stopping() -> None:
    """Tells systemd, if it listens, and who wants the locks, that this process has begun to stop. Safe in a signal
    handler.
    """
    mark_stopping()
    notify_systemd("STOPPING=1")


def notify_systemd(state: str) -> None:
    """Says how this service stands on the socket named by `NOTIFY_SOCKET`, by the protocol of sd_notify(3).

    Nothing is said, and nothing fails, where nobody listens. Never blocks.
    """
    path = os.environ.get(NOTIFY_SOCKET, "")
    if not path.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)
