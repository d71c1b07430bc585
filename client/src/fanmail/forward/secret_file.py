"""The file of secrets that requests are signed with."""

from __future__ import annotations

import base64
import binascii
import stat
from pathlib import Path

PREFIX = "whsec_"
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64
"""The lengths that Standard Webhooks allows."""
MAX_SECRETS = 10
"""Each one is a signature in every request."""
MAX_FILE_BYTES = 4096


def read_secrets(path: str) -> tuple[bytes, ...]:
    """Return the secrets in a file, one per line. Lines that are empty or begin with # are ignored.

    Raises ValueError, with a text that has no part of a secret: also if everybody on the host can read the file.
    """
    where = f"secrets_file: {path!r}"
    try:
        with Path(path).open("rb") as file:
            if stat.S_IMODE(Path(path).stat().st_mode) & stat.S_IROTH:
                raise ValueError(f"{where} can be read by everybody: chmod o-r")
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{where}: {error.strerror}") from None
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"{where} has more than {MAX_FILE_BYTES} bytes")
    lines = [line.strip() for line in content.decode("latin-1").splitlines()]
    secrets = tuple(
        _secret(line, f"{where}, line {number}") for number, line in enumerate(lines, 1) if line and line[0] != "#"
    )
    if not 1 <= len(secrets) <= MAX_SECRETS:
        raise ValueError(f"{where} has {len(secrets)} secrets, not 1 to {MAX_SECRETS}")
    return secrets


def _secret(line: str, where: str) -> bytes:
    try:
        secret = base64.b64decode(line.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not line.startswith(PREFIX) or not MIN_SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES:
        raise ValueError(
            f"{where} is not a secret: {PREFIX} and the base64 of {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes"
        )
    return secret
