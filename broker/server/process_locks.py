"""What a broker has in the run directory: its locks, and a file that marks it as ready."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from common.errors import StartError
from common.process.folders import write_file
from common.process.locks import hold_lock
from common.process.run_dir import Keeper


class ProcessLocks:
    """The locks of one broker, for the life of its process."""

    def __init__(self, run_dir: Path, name: str, endpoint: str, patience: float) -> None:
        """Take the locks of the process `name`, such as `b0` or `b0@h1`.

        Waits up to `patience` seconds for a broker that is stopping. Raises `StartError`.
        """
        self._mark = run_dir / f"{name}.ready"
        """Exists while the broker has its store loaded and serves. Probes look for it."""
        locks = [run_dir / f"{name}.lock"]
        if endpoint.startswith("ipc://"):
            path = Path(endpoint.removeprefix("ipc://"))
            locks.append(path.with_name(f"{path.name}.lock"))
            if path.exists() and not path.is_socket():
                raise StartError(f"{path} exists and is not a socket")
        for lock in locks:
            hold_lock(lock, patience)
        self._mark.unlink(missing_ok=True)  # left by a process that was killed
        self._keeper = Keeper(run_dir, locks)

    def serves(self) -> None:
        """Create the ready file."""
        self._keeper.files[self._mark] = ""
        with suppress(StartError):  # the directory has just been removed: `look` restores it
            write_file(self._mark, "")

    def leave(self) -> None:
        """Remove the ready file."""
        self._mark.unlink(missing_ok=True)

    def look(self) -> None:
        """Restore files that were removed. Raise `LostLockError`, as `Keeper.look` does."""
        self._keeper.look()
