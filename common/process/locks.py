"""Lock files: one process per broker, front and store, and who is about to leave."""

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
"""The first line of a lock file: the id of the process, blanks, and how it stands."""
_SERVING, _STOPPING = b" \n", b"\t\n"
POLL_S = 0.05
"""Seconds between two looks at a lock that is waited for."""

log = logging.getLogger("fanmail.start")

_held: dict[Path, int] = {}
"""The locks of this process, by path, with their descriptors."""


class LostLockError(Exception):
    """The file of a lock was removed, and another process has made and locked it again. Says which."""


def lock_file(path: str | Path) -> int:
    """Takes the exclusive lock on a file and writes the id of this process into the first line, which is always 20
    bytes long; further lines stay. On a full disk the line may be missing.

    Returns the descriptor, which must stay open as long as the lock is to be held, and is not inherited. Raises
    `StartError` where another process holds the lock.
    """
    handle, holder = _try_lock(Path(path))
    if handle is None:
        raise StartError(f"{path}: already in use by {_who(holder)}")
    _write_holder(handle, _SERVING)
    return handle


def lock_to_look(path: str | Path) -> int | None:
    """Takes a shared lock on a file, which is not changed: others may look too, and nobody takes it exclusively.

    Returns the descriptor, or None where there is no such file: nobody has ever taken it. Raises `StartError` where
    another process holds the lock.
    """
    if not os.path.lexists(path):
        return None
    handle, holder = _try_lock(Path(path), os.O_RDONLY, fcntl.LOCK_SH)
    if handle is None:
        raise StartError(f"{path}: already in use by {_who(holder)}")
    return handle


def hold_lock(path: str | Path, patience: float) -> None:
    """Takes a lock as `lock_file` does, for the life of this process; `mark_stopping` and `renew_locks` know it.

    Waits up to `patience` seconds for a process that is stopping. Raises `StartError`.
    """
    await_lock(path, patience)
    _held[Path(path)] = lock_file(path)


def await_lock(path: str | Path, patience: float) -> None:
    """Waits until nobody has the lock, up to `patience` seconds, and only while whoever has it is stopping."""
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
    """Says in the lock files of this process that it will soon be gone: a tab ends the line with its id, which all can
    read as before. Safe in a signal handler.
    """
    for handle in _held.values():
        _write_holder(handle, _STOPPING)


def renew_locks(paths: Sequence[Path]) -> list[Path]:
    """Makes those lock files again that are gone, and locks them; returns them.

    Raises `LostLockError` where another process was quicker, `OSError` where that cannot be done.
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
    """The descriptor of the locked file, or None and the line of its holder. Raises `StartError`."""
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
        os.close(handle)  # it was removed meanwhile: the lock on it means nothing
    return handle, ""


def _write_holder(handle: int, end: bytes) -> None:
    with suppress(OSError):  # a full disk: the lock is what counts
        os.pwrite(handle, b"%-18d" % os.getpid() + end, 0)


def _who(holder: str) -> str:
    pid = holder.strip()
    return f"process {pid}" if pid.isdigit() and Path(f"/proc/{pid}").exists() else "another process"


def _is_file(handle: int, path: Path) -> bool:
    """Is the open file the one that has this name?"""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except OSError:
        return False


def _is_leaving(holder: str) -> bool:
    """Is whoever wrote this into a lock file stopping? It has said so, or it was told to by the kernel, because its
    supervisor has died.
    """
    pid = holder.strip()
    if holder.endswith(_STOPPING.decode()):
        return True
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        parent = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1]
    except (OSError, IndexError):  # gone already, or no process of ours
        return not Path(f"/proc/{pid}").exists()
    supervisors = [each.partition(b"=")[2] for each in environ if each.startswith(SUPERVISOR.encode() + b"=")]
    return bool(supervisors) and supervisors[0] != parent
