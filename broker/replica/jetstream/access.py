"""Where NATS is and how to get in: addresses, TLS, and credentials, which are in a file.

A secret is read from its file for every connection, so a file may be replaced while a broker runs. It is in no setting,
no log, no error and no command line, and is not sent over a connection that is not what it should be.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import nkeys

from common.config import BrokerSettings
from common.errors import StartError
from common.toml_file import parse_toml

MOST_BYTES = 65536
"""Maximum size of a file with credentials."""
_BLOCK = re.compile(r"-----BEGIN (?:NATS )?(USER JWT|USER NKEY SEED)-----\s+(\S+)\s")


class Access(NamedTuple):
    """How a process reaches NATS. Files are read when they are needed."""

    urls: tuple[str, ...]
    """`nats://host:port`, or `tls://host:port` where only TLS will do."""
    credentials: str = ""
    """File with a user and a password, or with the seed of an nkey; "": none are needed."""
    ca: str = ""
    """File with the certificates that sign those of the servers; "": those that the system trusts. Demands TLS."""
    certificate: str = ""
    """File with the certificate of this client, where the servers ask for one."""
    key: str = ""
    """File with the private key of that certificate."""

    @property
    def tls(self) -> bool:
        """Return whether a connection without TLS is refused."""
        return bool(self.ca or self.certificate) or all(url.startswith("tls://") for url in self.urls)


class Credentials(NamedTuple):
    """What is sent to a server, or what signs its challenge."""

    user: str = ""
    password: str = ""
    seed: str = ""
    """Of an nkey."""
    jwt: str = ""
    """Says whose nkey it is, where the servers want that."""

    def __repr__(self) -> str:
        """Omit the secrets."""
        return f"Credentials({self.user!r})"


def access_of(settings: BrokerSettings) -> Access:
    """Return what the settings say, checked as far as that is possible without a server. Raises `StartError`."""
    if not settings.nats:
        raise StartError("--nats must name the NATS servers, such as nats://h1:4222,nats://h2:4222")
    files = (settings.nats_credentials, settings.nats_ca, settings.nats_cert, settings.nats_key)
    access = Access(settings.nats, *files)
    check_access(access, insecure=settings.insecure)
    return access


def check_access(access: Access, *, insecure: bool = False) -> None:
    """Check everything that can be checked without a server. Raises `StartError` with one line."""
    if access.key and not access.certificate:
        raise StartError(f"{access.key}: a private key needs its certificate")
    plain = [url for url in access.urls if not is_loopback(url)]
    if plain and not access.tls and not insecure:
        raise StartError(f"{plain[0]}: NATS on another host without TLS: name its CA, use tls://, or --insecure")
    credentials_of(access)
    tls_context(access)


def is_loopback(url: str) -> bool:
    """Return whether an address stays on this host."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def credentials_of(access: Access) -> Credentials | None:
    """Return the credentials, None where there are none. Raises `StartError` that says nothing of their contents."""
    if not access.credentials:
        return None
    text = _read_private(access.credentials)
    if text.startswith("SU"):
        return Credentials(seed=_checked_seed(access.credentials, text))
    blocks = _BLOCK.findall(text)
    if blocks:
        parts = dict(blocks)
        seed = _checked_seed(access.credentials, parts.get("USER NKEY SEED", ""))
        return Credentials(jwt=parts.get("USER JWT", ""), seed=seed)
    try:
        table = parse_toml(text)
    except ValueError:
        table = {}
    user, password = table.get("user"), table.get("password")
    if set(table) != {"user", "password"} or not isinstance(user, str) or not isinstance(password, str):
        raise StartError(f'{access.credentials}: has neither user = "..." and password = "..." nor the seed of an nkey')
    return Credentials(user, password)


def _read_private(path: str) -> str:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            data = file.read(MOST_BYTES) if stat.S_ISREG(status.st_mode) else b""
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}") from None
    if status.st_mode & 0o027:
        raise StartError(f"{path}: is accessible to other users (chmod 600)")
    try:
        return data.decode().strip()
    except UnicodeDecodeError:
        raise StartError(f"{path}: is not text") from None


def _checked_seed(path: str, seed: str) -> str:
    try:
        nkeys.from_seed(bytearray(seed.encode()))
    except Exception:  # its errors show parts of the seed
        raise StartError(f"{path}: is not the seed of an nkey") from None
    return seed


def tls_context(access: Access) -> ssl.SSLContext | None:
    """Return the context of TLS, None where a server without it will do. Raises `StartError`."""
    if not access.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=access.ca or None)
        if access.certificate:
            context.load_cert_chain(access.certificate, access.key or None, password=_no_passphrase)
    except OSError as error:  # SSLError is one
        files = [each for each in (access.ca, access.certificate, access.key) if each]
        raise StartError(f"{' or '.join(files)}: {error.strerror or error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _no_passphrase() -> str:
    """Answer instead of the terminal that OpenSSL would ask."""
    return ""


def options_of(access: Access, is_private: Callable[[], bool]) -> dict[str, Any]:
    """Return the arguments of `nats` for a connection.

    Where TLS is demanded, a secret leaves only when `is_private` says that the connection has it: a server, or who
    pretends to be one, says itself whether TLS begins. Raises `StartError`.
    """
    options: dict[str, Any] = {}
    context = tls_context(access)
    if context is not None:
        options["tls"] = context
    credentials = credentials_of(access)
    if credentials is None:
        return options
    if credentials.jwt:
        options["user_jwt_cb"] = credentials.jwt.encode
    if credentials.seed:
        return options | {"nkeys_seed_str": credentials.seed}

    def password() -> str:
        if access.tls and not is_private():
            raise ConnectionError("the server does not offer TLS")
        return credentials.password

    return options | {"user": credentials.user, "password": password}
