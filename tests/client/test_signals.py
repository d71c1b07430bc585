"""Signals end the command, but not while a lock of the connection pool is being taken."""

from __future__ import annotations

import importlib
import signal
import time
from collections.abc import Iterator

import pytest

from fanmail import Client
from fanmail.cli.signals import LOCK_MODULE, careful, listen

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1)


class Ended(Exception):
    """Raised by the handler."""


def end(number: int) -> None:
    raise Ended(number)


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def within(module: str) -> None:
    """Deliver a signal while a function of this module runs."""
    names: dict[str, object] = {"__name__": module, "signal": signal, "done": []}
    exec("def run():\n    signal.raise_signal(signal.SIGUSR1)\n    done.append(1)\n", names)
    names["run"]()  # type: ignore[operator]
    assert names["done"] == [1]


def test_where_nothing_is_locked_it_ends_at_once() -> None:
    signal.signal(signal.SIGUSR1, careful(end))
    with pytest.raises(Ended, match=str(int(signal.SIGUSR1))):
        within("anywhere")


def test_at_a_lock_it_ends_a_moment_later() -> None:
    signal.signal(signal.SIGUSR1, careful(end))
    within(LOCK_MODULE)  # goes through
    with pytest.raises(Ended, match=str(int(signal.SIGUSR1))):
        time.sleep(30)


def test_the_locks_are_where_we_think() -> None:
    assert callable(importlib.import_module(LOCK_MODULE).ThreadLock.__enter__)


def test_what_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listen(end)
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(Ended):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_a_client_that_is_interrupted_does_not_wait_for_locks(kind: type[BaseException]) -> None:
    def interrupted() -> None:
        with Client("http://127.0.0.1:1") as client:
            client._connections.get()._transport._pool._optional_thread_lock._lock.acquire()
            raise kind

    with pytest.raises(kind):
        interrupted()
