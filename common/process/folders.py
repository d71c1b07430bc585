"""Private directories, and atomic writes of files."""

from __future__ import annotations

import os
from pathlib import Path

from common.errors import StartError


def private_dir(path: str | Path, what: str = "run directory") -> Path:
    """Return the directory as an absolute path; create it if it is missing, with mode 0700.

    Raises `StartError` for a symbolic link, for a directory of another user, and for one with files that is open to
    others: an empty one is made private, but /tmp or a home directory given by mistake is left unchanged.
    """
    given = Path(path).absolute()
    try:
        folder = given.parent.resolve() / given.name  # paths of sockets must be short
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
                raise StartError(f"{what} {folder}: is accessible to other users (chmod 700, or use another directory)")
            os.fchmod(handle, 0o700)
    finally:
        os.close(handle)
    return folder


def write_file(path: Path, text: str) -> None:
    """Write a file atomically. Raises `StartError`."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}") from None
