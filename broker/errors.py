"""Errors that end a broker or cost a message. Those that a client is told are `FanmailError` (`common/errors.py`)."""

from __future__ import annotations


class MisfitError(Exception):
    """A record does not fit the state: a bug, or a store that contradicts itself. The state may be half-way: it is of
    no use any more.
    """


class BrokenInvariantError(Exception):
    """An unforeseen error when the state may be half-way. Nobody of the turn is answered: the process ends, and goes on
    with what is stored.
    """


class StoreError(Exception):
    """The store cannot go on: the broker answers nobody, exits with this text and starts from what is stored."""


class UnusableStoreError(StoreError):
    """The store cannot be trusted, or is not for this broker: nothing is changed, and the broker does not start."""


class EmptyStoreError(UnusableStoreError):
    """There is nothing in the file: a first start has not come to its end, or the store is lost."""


class DamagedError(Exception):
    """A stored message is not what was written: it is set aside, and the others are served."""


def must(fits: bool, rule: str) -> None:
    """Raises `MisfitError` where a record is against a rule of the state."""
    if not fits:
        raise MisfitError(f"against a rule of the state: {rule}")
