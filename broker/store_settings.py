"""Checks of the settings of the store, which `bin/start-brokers` makes before it starts a broker."""

from __future__ import annotations

from importlib.util import find_spec

from common.config import BrokerSettings
from common.errors import StartError


def check_store_settings(settings: BrokerSettings) -> None:
    """Raise `StartError` where `--store` and `--data` do not fit each other."""
    if settings.store == "memory" and settings.data:
        raise StartError(f"--data {settings.data} is for --store sqlite, which is not given: nothing would be kept")
    if settings.store != "memory" and not settings.data:
        raise StartError(f"--store {settings.store} needs --data, the directory where the stores are")


def check_candidate(settings: BrokerSettings) -> None:
    """Raise `StartError` unless candidates, and only they, use the replicated store: others would not share it."""
    if settings.candidate and settings.store != "replicated":
        raise StartError(f"--candidate {settings.candidate} needs --store replicated: candidates share a log")
    if settings.store == "replicated" and not settings.candidate:
        raise StartError("--store replicated needs --candidate, and a --config whose brokers have candidates")


def uses_postgres(settings: BrokerSettings) -> bool:
    """Return whether the replicated logs are in PostgreSQL, not in NATS. Raises `StartError` where it is unclear."""
    if settings.postgres and settings.nats:
        raise StartError("--nats and --postgres are both given: a log is in one of them")
    if settings.postgres and find_spec("psycopg") is None:
        raise StartError("--postgres needs psycopg: .venv/bin/pip install -r requirements-postgres.txt")
    return bool(settings.postgres)
