"""Append to a stream: one entry at a time, each with exactly one result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nats.aio.msg import Msg

from broker.replica.engine.names import StreamName
from broker.replica.jetstream import api
from broker.replica.jetstream.connection import NO_CONNECTION, Connection, Failures, describe
from broker.replica.log import Appended, Full, Refused, Unknown

APPEND_S = 1.0
"""How long an append may take before its result is unknown."""
NO_LEADER = "the stream has no leader"

Result = Appended | Refused | Full | Unknown


class Appending:
    """The append under way, if there is one. Used in the thread of the event loop."""

    def __init__(self, connection: Connection, name: StreamName, settle: Callable[[Result], None]) -> None:
        """`settle` is called with the result of each append."""
        self._connection, self._subject, self._settle = connection, name.subject, settle
        self._number = 0
        self._expected = 0
        self._timer: asyncio.TimerHandle | None = None
        """Set while one is under way."""
        self.inbox = ""
        """Prefix of the subjects for the answers; whoever subscribes calls `take`."""

    async def append(self, data: bytes, expected: int) -> None:
        """Append an entry, and have `settle` called."""
        self._number += 1
        number = self._number
        self._expected = expected
        self._timer = asyncio.get_running_loop().call_later(APPEND_S, self.give_up, "no answer in time")
        client = self._connection.client
        if client is None:
            self.give_up(NO_CONNECTION)
            return
        try:
            reply = f"{self.inbox}.{number}"
            await client.publish(self._subject, data, reply, {api.EXPECTED: str(expected)})
        except Failures as error:
            if number == self._number:  # else it was given up meanwhile
                self.give_up(describe(error))

    def take(self, token: str, message: Msg) -> None:
        """Take the answer to an append. `token` is the end of its subject."""
        if token != str(self._number) or self._timer is None:
            return  # it came too late: its result is `Unknown` for ever
        if message.headers and message.headers.get(api.STATUS):
            self.give_up(NO_LEADER)
            return
        try:
            ack = api.decode(api.PubAck, message.data)
        except api.RequestError as error:
            self.give_up(str(error))
            return
        self._end(self._result(ack))

    def give_up(self, reason: str) -> None:
        """End the append under way, if there is one: nobody knows whether it was done."""
        if self._timer is not None:
            self._end(Unknown(reason))

    def _result(self, ack: api.PubAck) -> Result:
        if ack.error is None:
            if ack.seq == self._expected + 1:
                return Appended(ack.seq)
            return Unknown(f"the append behind {self._expected} was answered with position {ack.seq}")
        if ack.error.err_code == api.WRONG_LAST:
            return Refused(ack.last())
        return Full() if ack.is_full else Unknown(ack.error.description)

    def _end(self, result: Result) -> None:
        assert self._timer is not None
        self._timer.cancel()
        self._timer = None
        self._settle(result)
