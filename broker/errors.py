"""Errors that end a broker or cost a message. Those for clients are `FanmailError` (`common/errors.py`)."""

from __future__ import annotations


class MisfitError(Exception):
    """A record does not fit the state: a bug, or a store that contradicts itself.

    The state may be half-changed and must not be used any more.
    """


class BrokenInvariantError(Exception):
    """An unforeseen error after a change of state.

    No request of the turn is answered: the process ends, and the next one starts from what is stored.
    """


class StoreError(Exception):
    """The store cannot go on.

    The broker answers no request of the burst, exits with this text and starts again from what is stored.
    """


class UnusableStoreError(StoreError):
    """The store cannot be trusted, or belongs to another broker. Nothing is changed, and the broker does not start."""


class EmptyStoreError(UnusableStoreError):
    """The file is empty: the first start did not finish, or the store is lost."""


class DamagedError(Exception):
    """A stored message is not what was written. It is set aside, and the others are delivered."""


def must(fits: bool, rule: str) -> None:
    """Raise `MisfitError` where a record breaks a rule of the state."""
    if not fits:
        raise MisfitError(f"breaks a rule of the state: {rule}")
