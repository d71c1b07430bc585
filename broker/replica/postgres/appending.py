"""Append to a log: one entry at a time, each with exactly one result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psycopg

from broker.replica.engine.threaded_log import LostError
from broker.replica.log import Appended, Full, Refused, Unknown
from broker.replica.postgres import tables
from broker.replica.postgres.session import Failures, Session, describe

APPEND_S = 1.0
"""How long an append may take before its result is unknown."""

Result = Appended | Refused | Full | Unknown


class Appending:
    """The append under way, if there is one. Used in the thread of the event loop."""

    def __init__(self, session: Session, log_id: bytes, settle: Callable[[Result], None]) -> None:
        """`settle` is called with the result of each append."""
        self._session, self._log_id, self._settle = session, log_id, settle
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None
        """Set while one is under way."""

    async def append(self, data: bytes, expected: int) -> None:
        """Append an entry, and have `settle` called. Raises `LostError`."""
        self._number += 1
        number = self._number
        self._timer = asyncio.get_running_loop().call_later(APPEND_S, self.give_up, "no answer in time")
        try:
            result = await self._try(data, expected)
        except Failures as error:
            result = _result_of(error)
        if number == self._number and self._timer is not None:  # else it was given up meanwhile
            self._end(result)

    async def _try(self, data: bytes, expected: int) -> Result:
        rows = await self._session.run(tables.APPEND, log=self._log_id, data=data, expected=expected)
        if rows:
            return Appended(rows[0][0])
        rows = await self._session.run(tables.STATE, log=self._log_id)
        if not rows:
            raise LostError(f"PostgreSQL has no log {self._log_id.hex()}")
        _, last, size, most = rows[0]
        return Full() if last == expected and size + len(data) > most else Refused(last)

    def give_up(self, reason: str) -> None:
        """End the append under way, if there is one: nobody knows whether it was done."""
        if self._timer is not None:
            self._session.cut()
            self._end(Unknown(reason))

    def _end(self, result: Result) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._settle(result)


def _result_of(error: Exception) -> Result:
    """Return what a failure says. Without room the statement fails before its commit."""
    return Full() if isinstance(error, psycopg.errors.DiskFull) else Unknown(describe(error))
