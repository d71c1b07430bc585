"""Where PostgreSQL is and how to get in: one URL of libpq without a password, which is in a file of libpq."""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict

from common.config import BrokerSettings
from common.errors import StartError

VERIFIED = ("verify-ca", "verify-full")


class Access(NamedTuple):
    """How a process reaches PostgreSQL. libpq reads the files that the URL, or its environment, names."""

    url: str
    """`postgresql://user@h1,h2/database?passfile=...&sslmode=verify-full`."""


def access_of(settings: BrokerSettings) -> Access:
    """Return what the settings say, checked as far as that is possible without a server. Raises `StartError`."""
    access = Access(settings.postgres)
    check_access(access, insecure=settings.insecure)
    return access


def check_access(access: Access, *, insecure: bool = False) -> None:
    """Check everything that can be checked without a server. Raises `StartError`, never with a part of the URL."""
    try:
        parts = conninfo_to_dict(access.url)
    except psycopg.Error:  # its text has parts of the URL
        raise StartError("--postgres is not a URL such as postgresql://user@h1,h2/database") from None
    if {"password", "sslpassword"} & set(parts):
        raise StartError("--postgres must not have a password: put it in a passfile (~/.pgpass, ?passfile=...)")
    hosts = f"{parts.get('host') or ''},{parts.get('hostaddr') or ''}".split(",")
    remote = [host for host in hosts if not _is_local(host)]
    if remote and parts.get("sslmode") not in VERIFIED and not insecure:
        raise StartError(f"{remote[0]}: PostgreSQL on another host needs ?sslmode=verify-full, or --insecure")


def _is_local(host: str) -> bool:
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
