"""Lock files: one process per broker, front and store."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from common.clock import SystemClock, pause
from common.errors import StartError
from common.process.environment import SUPERVISOR

HOLDER_BYTES = 20
"""Length of the first line of a lock file: process id, padding, and the state of the process."""
_SERVING, _STOPPING = b" \n", b"\t\n"
POLL_S = 0.05
"""Interval at which a lock is tried again."""

log = logging.getLogger("fanmail.start")

_held: dict[Path, int] = {}
"""Descriptors of the locks that this process holds, by path."""


class LostLockError(Exception):
    """A lock file was removed, and another process has created and locked it again. The text says which."""


def lock_file(path: str | Path) -> int:
    """Take the exclusive lock on a file and write the process id into its first line.

    That line always has 20 bytes; further lines are kept. On a full disk the line may be missing. Returns the
    descriptor, which holds the lock until it is closed, and is not inherited. Raises `StartError` if another process
    holds the lock.
    """
    handle, holder = _try_lock(Path(path))
    if handle is None:
        raise StartError(f"{path}: already in use by {_who(holder)}")
    _write_holder(handle, _SERVING)
    return handle


def lock_to_look(path: str | Path) -> int | None:
    """Take a shared lock on a file without changing it, so that no process can take it exclusively.

    Returns the descriptor, or None if there is no such file, which means that it was never locked. Raises `StartError`
    if another process holds the exclusive lock.
    """
    if not os.path.lexists(path):
        return None
    handle, holder = _try_lock(Path(path), os.O_RDONLY, fcntl.LOCK_SH)
    if handle is None:
        raise StartError(f"{path}: already in use by {_who(holder)}")
    return handle


def hold_lock(path: str | Path, patience: float) -> None:
    """Take a lock like `lock_file`, for the life of this process; `mark_stopping` and `renew_locks` include it.

    Waits up to `patience` seconds for a process that is stopping. Raises `StartError`.
    """
    await_lock(path, patience)
    _held[Path(path)] = lock_file(path)


def await_lock(path: str | Path, patience: float) -> None:
    """Wait up to `patience` seconds until the lock is free, but only while its holder is stopping."""
    clock, said = SystemClock(), False
    until = clock.now().mono + patience * 1e6
    while clock.now().mono < until:
        with suppress(StartError):
            handle, holder = _try_lock(Path(path))
            if handle is not None:
                os.close(handle)
            elif _is_leaving(holder):
                if not said:
                    log.info("waiting for a process that is stopping", extra={"lock": str(path), "pid": holder.strip()})
                    said = True
                pause(POLL_S)
                continue
        return


def mark_stopping() -> None:
    """Mark the lock files of this process: it is stopping. The first line then ends with a tab.

    Safe in a signal handler.
    """
    for handle in _held.values():
        _write_holder(handle, _STOPPING)


def renew_locks(paths: Sequence[Path]) -> list[Path]:
    """Create and lock those lock files again that were removed. Returns their paths.

    Raises `LostLockError` if another process was faster, `OSError` if a file cannot be created.
    """
    renewed = []
    for path in paths:
        if _is_file(_held[path], path):
            continue
        try:
            handle, holder = _try_lock(path)
        except StartError as error:
            raise OSError(str(error)) from None
        if handle is None:
            raise LostLockError(f"{path}: was removed, and process {holder.strip()} has it now")
        _write_holder(handle, _SERVING)
        os.close(_held[path])
        _held[path] = handle
        renewed.append(path)
    return renewed


def _try_lock(path: Path, flags: int = os.O_RDWR | os.O_CREAT, kind: int = fcntl.LOCK_EX) -> tuple[int | None, str]:
    """Return the descriptor of the locked file, or None and the first line of its holder. Raises `StartError`."""
    while True:
        try:
            handle = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(f"{path}: {error.strerror}") from None
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(handle, HOLDER_BYTES).decode("ascii", "replace")
            os.close(handle)
            if not isinstance(error, BlockingIOError):
                raise StartError(f"{path}: {error.strerror}") from None
            return None, holder
        if _is_file(handle, path):
            break
        os.close(handle)  # it was removed meanwhile, so that its lock has no effect
    return handle, ""


def _write_holder(handle: int, end: bytes) -> None:
    with suppress(OSError):  # on a full disk the lock is sufficient
        os.pwrite(handle, b"%-18d" % os.getpid() + end, 0)


def _who(holder: str) -> str:
    pid = holder.strip()
    return f"process {pid}" if pid.isdigit() and Path(f"/proc/{pid}").exists() else "another process"


def _is_file(handle: int, path: Path) -> bool:
    """Return whether the open file is the one with this name."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except OSError:
        return False


def _is_leaving(holder: str) -> bool:
    """Return whether the writer of this first line is stopping.

    It has marked the file, or the kernel has sent it SIGTERM because its supervisor died.
    """
    pid = holder.strip()
    if holder.endswith(_STOPPING.decode()):
        return True
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        parent = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1]
    except (OSError, IndexError):  # it has exited, or is not ours
        return not Path(f"/proc/{pid}").exists()
    supervisors = [each.partition(b"=")[2] for each in environ if each.startswith(SUPERVISOR.encode() + b"=")]
    return bool(supervisors) and supervisors[0] != parent
