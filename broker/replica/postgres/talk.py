"""What the candidates of a log tell each other by NOTIFY: that there is an entry, and their reports.

It is not part of an append: a transaction that notifies holds a lock of the whole server until its commit has ended.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable
from contextlib import suppress

from psycopg import sql

from broker.replica.engine.names import StreamName
from broker.replica.engine.outbox import Outbox
from broker.replica.log import Down, Reported, Up
from broker.replica.postgres import tables
from broker.replica.postgres.session import Failures, Session, describe

AGAIN_S = 0.2
"""Interval of attempts to connect."""
MOST_TEXT = 7900
"""Bytes of a notification; PostgreSQL takes fewer than 8000. A greater report is not sent, as any may get lost."""


class Talk:
    """Hears and tells. Its connection is the one by which the log is up or down."""

    def __init__(
        self, session: Session, name: StreamName, candidate: str, outbox: Outbox, wake: Callable[[], None]
    ) -> None:
        """`candidate` is one word; `wake` is called where there may be new entries."""
        self._session, self._outbox, self._wake = session, outbox, wake
        self._channel = tables.channel_of(name.log_id)
        self._me = candidate

    async def hear(self) -> None:
        """Hear the others, until cancelled."""
        said = ""
        while True:
            try:
                connection = await self._session.connect()
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
                said = ""
                self._outbox.put(Up())
                self._wake()
                async for notice in connection.notifies():
                    self._take(notice.payload)
                reason = "the connection was closed"
            except Failures as error:
                reason = describe(error)
            self._session.cut()
            if reason != said:
                said = reason
                self._outbox.put(Down(reason))
            await asyncio.sleep(AGAIN_S)

    def text_of(self, data: bytes = b"") -> str:
        """Return the text that says something to the others: a report, or that there is an entry."""
        text = f"{self._me}:{base64.b64encode(data).decode()}"
        return text if len(text) <= MOST_TEXT else ""

    @property
    def channel(self) -> str:
        """Return where it is said."""
        return self._channel

    def _take(self, text: str) -> None:
        who, _, report = text.partition(":")
        if who == self._me:
            return
        if not report:
            self._wake()
            return
        with suppress(binascii.Error):  # else it is not from a candidate
            self._outbox.put(Reported(base64.b64decode(report, validate=True)))
