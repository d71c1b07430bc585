"""What every process does around its main function: run directory, locks, readiness, exit codes."""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from common.config import Settings, read_toml
from common.errors import StartError
from common.listeners import open_listeners
from common.partition import DESCRIPTION
from common.units import count

READY_FD = "FANMAIL_READY_FD"
"""Variable with the descriptor on which a supervised process says that it is ready."""
SUPERVISOR = "FANMAIL_SUPERVISOR"
"""Variable with the process id of the supervisor that started this process."""
NOTIFY_SOCKET = "NOTIFY_SOCKET"
"""Variable with the socket on which systemd, or what speaks like it, hears how a service stands (sd_notify(3))."""
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
    """Tells systemd, if it listens, that this process has begun to stop. Safe in a signal handler."""
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


def private_dir(path: str | Path, what: str = "run directory") -> Path:
    """The directory as an absolute path, made where it is missing, and for its owner only (0700).

    Raises `StartError` for a symbolic link, for what is not ours, and for a directory open to others that
    already holds files: an empty one is closed, but /tmp or a home directory given by mistake stays as it is.
    """
    given = Path(path).absolute()
    try:
        folder = given.parent.resolve() / given.name  # sockets' paths are short: no detours in them
        folder.mkdir(0o700, parents=True, exist_ok=True)
        if folder.is_symlink():
            raise StartError(f"{what} {folder}: is a symbolic link")
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise StartError(f"{what} {given}: {error.strerror}") from None
    try:
        status = os.fstat(handle)
        if status.st_uid != os.geteuid():
            raise StartError(f"{what} {folder}: belongs to another user")
        if status.st_mode & 0o077:
            if any(folder.iterdir()):
                raise StartError(f"{what} {folder}: is open to other users (chmod 700, or another one)")
            os.fchmod(handle, 0o700)
    finally:
        os.close(handle)
    return folder


def lock_file(path: str | Path) -> int:
    """Takes the exclusive lock on a file for the life of this process and writes its id into it.

    Returns the descriptor, which must stay open and is not inherited. Raises `StartError` where another
    process holds the lock.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(handle, 20).decode("ascii", "replace").strip()
        os.close(handle)
        if not isinstance(error, BlockingIOError):
            raise StartError(f"{path}: {error.strerror}") from None
        who = f"process {holder}" if holder else "another process"
        raise StartError(f"{path}: already in use by {who}") from None
    os.ftruncate(handle, 0)
    os.write(handle, b"%d\n" % os.getpid())
    return handle


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


def run_main(main: Callable[[], int], prog: str = "") -> NoReturn:
    """Exits with what `main` returns. A `StartError` is one line on standard error and exit code 2.

    `prog` starts that line; default is the name of the package that was run.
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
    except KeyboardInterrupt:  # before the handlers stood: nothing has been started yet
        code = 0
    sys.exit(code)


def drain_fd(fd: int) -> None:
    """Reads a non-blocking pipe empty."""
    while True:
        try:
            if len(os.read(fd, 4096)) < 4096:
                return
        except BlockingIOError:
            return
