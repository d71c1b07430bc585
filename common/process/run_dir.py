"""The run directory of a running process, whose files are restored when they are removed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from common.errors import StartError
from common.process.folders import private_dir, write_file
from common.process.locks import renew_locks

log = logging.getLogger("fanmail.start")


class Keeper:
    """Restores files that are removed from the run directory of a running process."""

    def __init__(self, run_dir: Path, locks: Sequence[Path]) -> None:
        """`locks` must be held by this process."""
        self.files: dict[Path, str] = {}
        """Files to restore, with their text."""
        self._run_dir = run_dir
        self._locks = locks
        self._unsaid = True

    def look(self) -> None:
        """Restore what was removed; log once what cannot be restored.

        Raises `LostLockError` if another process was started in place of this one: one of the two must end.
        """
        try:
            private_dir(self._run_dir)
            renewed = renew_locks(self._locks)
            for path in self.files:
                if path.exists():  # perhaps with another text, which counts from now on
                    self.files[path] = path.read_text(encoding="utf-8")
                else:
                    write_file(path, self.files[path])
                    renewed.append(path)
        except (OSError, ValueError, StartError) as error:
            if self._unsaid:
                log.error("removed files cannot be restored", extra={"reason": str(error)})
            self._unsaid = False
            return
        self._unsaid = True
        if renewed:
            log.warning("removed files were restored", extra={"paths": [str(each) for each in renewed]})
