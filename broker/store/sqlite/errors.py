"""Errors of SQLite and the system, as errors of the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from broker.errors import UnusableStoreError


@contextmanager
def unusable_on_error(path: Path, when_full: str = "the disk is full") -> Iterator[None]:
    """Raise `UnusableStoreError`, with the path, in place of `apsw.Error` and `OSError`.

    `when_full` is its text where the disk is full.
    """
    try:
        yield
    except apsw.FullError:
        raise UnusableStoreError(f"{path}: {when_full}") from None
    except apsw.Error as error:
        raise UnusableStoreError(f"{path}: {error}") from None
    except OSError as error:
        raise UnusableStoreError(f"{path}: {error.strerror}") from None
