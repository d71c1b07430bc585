"""Rebuilds the state of a broker from its store, and polls the socket meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Callable

from broker.errors import MisfitError, UnusableStoreError
from broker.state.state import State
from broker.store.base import Store

log = logging.getLogger("fanmail.broker")

POLL_EVERY, REPORT_EVERY = 5_000, 500_000
"""Records between two polls, and between two lines in the log."""


def load(store: Store, state: State, look: Callable[[], bool]) -> bool:
    """Apply all records of the store; return False where `look` asked to stop. Raise `UnusableStoreError`."""
    try:
        for counted, record in enumerate(store.load(), 1):
            state.apply(record)
            if counted % POLL_EVERY == 0 and not look():
                return False
            if counted % REPORT_EVERY == 0:
                log.info("loading", extra={"records": counted})
    except MisfitError as error:
        raise UnusableStoreError(f"the store contradicts itself: {error}") from error
    return True
