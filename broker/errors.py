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
    """The store cannot continue.

    The broker answers no request of the burst, exits with this text and starts again from what is stored.
    """


class UnusableStoreError(StoreError):
    """The store cannot be trusted, or belongs to another broker. Nothing is changed, and the broker does not start."""


class EmptyStoreError(UnusableStoreError):
    """The file is empty: the first start did not finish, or the store is lost."""


class ReplicaError(StoreError):
    """The replicated log and this candidate do not fit together, or the log is lost.

    Nothing is changed. The candidate must not own or follow the log as it is: the text says what is wrong.
    """


class LeftOutError(ReplicaError):
    """A candidate needs the state of the owner: the log lacks what it needs next, or its store is damaged."""


class DeposedError(StoreError):
    """Another candidate owns the log, or may. The process ends and starts again as a standby."""


class DamagedError(Exception):
    """A stored message is not what was written. It is set aside, and the others are delivered."""


def must(fits: bool, rule: str) -> None:
    """Raise `MisfitError` where a record breaks a rule of the state."""
    if not fits:
        raise MisfitError(f"breaks a rule of the state: {rule}")
