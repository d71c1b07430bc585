"""What a broker has in the run directory: its locks, and the mark that it serves."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from common.errors import StartError
from common.process.folders import write_file
from common.process.locks import hold_lock
from common.process.run_dir import Keeper


class ProcessLocks:
    """Of one broker, for the life of its process."""

    def __init__(self, run_dir: Path, broker_id: str, endpoint: str, patience: float) -> None:
        """Takes the locks; waits up to `patience` seconds for a broker that is stopping. Raises `StartError`."""
        self._mark = run_dir / f"{broker_id}.ready"
        """Is there while the broker has its store loaded and serves. Probes look for it."""
        locks = [run_dir / f"{broker_id}.lock"]
        if endpoint.startswith("ipc://"):
            path = Path(endpoint.removeprefix("ipc://"))
            locks.append(path.with_name(f"{path.name}.lock"))
            if path.exists() and not path.is_socket():
                raise StartError(f"{path}: there is something that is not a socket")
        for lock in locks:
            hold_lock(lock, patience)
        self._mark.unlink(missing_ok=True)  # of one that was killed
        self._keeper = Keeper(run_dir, locks)

    def serves(self) -> None:
        """From now on the mark is there."""
        self._keeper.files[self._mark] = ""
        with suppress(StartError):  # the directory has just been removed: `look` makes it again
            write_file(self._mark, "")

    def leave(self) -> None:
        """The mark goes."""
        self._mark.unlink(missing_ok=True)

    def look(self) -> None:
        """Housekeeping: makes again what somebody has removed. Raises `LostLockError`, as `Keeper.look` does."""
        self._keeper.look()
