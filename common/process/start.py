"""What every process does around its main function: run directory, locks, readiness, exit codes."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from common.cluster.description import DESCRIPTION
from common.config import Settings
from common.errors import StartError
from common.process.listeners import open_listeners
from common.process.log_queue import queue_standard_error
from common.process.run_dir import SUPERVISOR, await_lock, mark_stopping
from common.toml_file import read_toml
from common.units import count

READY_FD = "FANMAIL_READY_FD"
"""Variable with the descriptor on which a supervised process says that it is ready."""
NOTIFY_SOCKET = "NOTIFY_SOCKET"
"""Variable with the socket on which systemd, or what speaks like it, hears how a service stands (sd_notify(3))."""
_PR_SET_PDEATHSIG = 1
INTERRUPTED = 130
"""Exit code of a tool that Ctrl-C has ended before it was done, as of a shell."""


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


def has_brokers(settings: Settings) -> bool:
    """Does the file given with `--config` describe the cluster? Raises `StartError` for an unusable file."""
    return bool(settings.config) and "brokers" in read_toml(settings.config)


def description_path(settings: Settings) -> Path:
    """The cluster description: `--config` where it has [[brokers]], else the one in the run directory."""
    path = Path(settings.config) if has_brokers(settings) else Path(settings.run_dir) / DESCRIPTION
    return path.absolute()


def ports_of(first: int, fronts: int, name: str = "--port") -> list[int]:
    """The port of each front; 0, where each picks its own, stays 0. Raises `StartError` that names the setting beyond
    65535.
    """
    if first == 0:
        return [0] * fronts
    last = first + fronts - 1
    if last > 65535:
        raise StartError(f"{name} {first} and {fronts} fronts: port {last} is over 65535")
    return list(range(first, last + 1))


def front_lock(run_dir: str | Path, hosts: Sequence[str], port: int) -> Path:
    """The lock of the front at a port."""
    return Path(run_dir) / f"front-{'+'.join(hosts).replace('/', '_')}-{port}.lock"


def await_fronts(run_dir: str | Path, hosts: Sequence[str], ports: Iterable[int], patience: float) -> None:
    """Waits up to `patience` seconds for fronts that are stopping, which may still have their ports."""
    for port in ports:
        if port:
            await_lock(front_lock(run_dir, hosts, port), patience)


def check_ports(hosts: Sequence[str], ports: Iterable[int]) -> None:
    """Raises `StartError` where a front could not listen: before any has been started, in one line."""
    for port in ports:
        for sock in open_listeners(hosts, port):
            sock.close()


def how_many(low: int, high: int) -> Callable[[str], int]:
    """A parser for a positional number, with the range in its error."""

    def parse(text: str) -> int:
        try:
            return count(low, high)(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low} to {high}") from None

    return parse


def run_main(main: Callable[[], int], prog: str = "", interrupted: int = 0) -> NoReturn:
    """Exits with what `main` returns. A `StartError` is one line on standard error and exit code 2.

    `prog` starts that line; default is the name of the package that was run. Ctrl-C is `interrupted`: 0 for what has
    handlers of its own, and has not set them yet, so that nothing has been started; else there is a line.
    """
    spec = sys.modules["__main__"].__spec__
    prog = prog or (spec.name.split(".")[0] if spec else "fanmail")
    try:
        code = main()
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except StartError as error:
        text = " ".join(str(error).splitlines())
        print(text if text.startswith(f"{prog}: ") else f"{prog}: {text}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = interrupted
        if interrupted:
            print(f"{prog}: interrupted", file=sys.stderr)
    sys.exit(code)


def run_service(main: Callable[[], int], prog: str = "") -> NoReturn:
    """The same for what has a loop: it never waits for whoever reads standard error."""
    queue_standard_error()
    run_main(main, prog)


def drain_fd(fd: int) -> None:
    """Reads a non-blocking pipe empty."""
    while True:
        try:
            if len(os.read(fd, 4096)) < 4096:
                return
        except BlockingIOError:
            return
