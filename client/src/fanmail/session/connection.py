"""The WebSocket of a session, by the package `websockets`, and what its failures mean. Only `engine` imports this."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.frames import Opcode
from websockets.http11 import Response as HandshakeResponse
from websockets.protocol import State
from websockets.typing import Subprotocol

from fanmail.encoding import redacted
from fanmail.errors import Denied, FanmailError, OutcomeUnknown, ServerFault, TooLarge, Unavailable, error_of
from fanmail.fork_safety import note_socket
from fanmail.http_call import Response
from fanmail.responses import decode_headers
from fanmail.transport import CONNECT_TIMEOUT_S, default_ssl_context

SUBPROTOCOL = Subprotocol("fanmail.v1.json")
MAX_MESSAGE_BYTES = 128 * 1024 * 1024
"""Above what any server sends: a body of 64 MiB in base64."""
PING_EVERY_S = 20.0
CLOSE_TIMEOUT_S = 2.0
_log = logging.getLogger("fanmail.websockets")
_log.setLevel(logging.INFO)  # its debug messages would show the API key
_DENIED, _TOO_BIG, _FAULTS = 1008, 1009, (1002, 1003, 1007)


class SessionConnection(ClientConnection):
    """A connection that passes each frame on at once. Its owner sets the callbacks after the handshake."""

    on_text: Callable[[bytes], object]
    on_room: Callable[[], object]
    """Called when there is room for output again."""
    error: FanmailError | None = None
    """Why this side has ended it."""
    _parts: bytearray | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the socket, which a child of this process must not use."""
        super().connection_made(transport)
        note_socket(transport, transport.get_extra_info("socket"))

    def process_event(self, event: Any) -> None:
        """Pass on a text without the queue of the library, which takes longer than everything else."""
        if self.response is None or event.opcode not in (Opcode.TEXT, Opcode.CONT):
            super().process_event(event)
            return
        data = bytes(event.data)
        if not event.fin or self._parts is not None:
            self._parts = (self._parts or bytearray()) + data
            if not event.fin:
                return
            data, self._parts = bytes(self._parts), None
        try:
            self.on_text(data)
        except FanmailError as error:
            self.give_up(error)

    @property
    def has_room(self) -> bool:
        """Whether output may be written now."""
        return not self.paused and self.protocol.state is State.OPEN

    def write(self, texts: list[bytes]) -> None:
        """Send texts as one frame each, all at once."""
        for text in texts:
            self.protocol.send_text(text)
        self.transport.writelines(self.protocol.data_to_send())

    def give_up(self, error: FanmailError) -> None:
        """End at once."""
        self.error = self.error or error
        self.abort()

    def abort(self) -> None:
        """End without a word, unless it has ended: a transport of asyncio that is closed may fail to abort."""
        if not self.connection_lost_waiter.done():
            self.transport.abort()

    def resume_writing(self) -> None:
        """Go on with the output."""
        super().resume_writing()
        self.on_room()


class _Connect(connect):
    """A handshake that follows no redirect, which could send the API key to another host."""

    def process_redirect(self, exc: Exception) -> Exception:
        """Return the error that a redirect is."""
        return exc


@dataclass(frozen=True, slots=True)
class Target:
    """What all connections of a session have in common."""

    headers: list[tuple[str, str]] = field(repr=False)
    """With the API key."""
    timeout_s: float


async def open_connection(base: str, target: Target) -> SessionConnection:
    """Return a connection after its handshake. Raises a FanmailError: `Unavailable` if another try may succeed."""
    try:
        connection = await _Connect(
            _websocket_url(base),
            subprotocols=[SUBPROTOCOL],
            compression=None,
            additional_headers=target.headers,
            user_agent_header=None,
            open_timeout=min(CONNECT_TIMEOUT_S, target.timeout_s),
            ping_interval=PING_EVERY_S,
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=MAX_MESSAGE_BYTES,
            write_limit=256 * 1024,
            logger=_log,
            create_connection=SessionConnection,
            ssl=default_ssl_context() if base.startswith("https:") else None,
        )
    except InvalidStatus as error:
        raise _refused(error.response) from error
    except (OSError, InvalidHandshake) as error:  # TimeoutError is an OSError
        raise Unavailable(f"{redacted(base)}: {str(error) or type(error).__name__}") from error
    assert isinstance(connection, SessionConnection)
    if connection.subprotocol != SUBPROTOCOL:
        connection.abort()
        raise ServerFault(f"{redacted(base)}: it has no sessions of Fanmail")
    return connection


def why_lost(base: str, connection: SessionConnection) -> FanmailError:
    """Return why a connection has ended: `OutcomeUnknown` if another one may be opened."""
    if connection.error is not None:
        return connection.error
    code, reason = connection.close_code, connection.close_reason or ""
    name, _, sentence = reason.partition(": ")
    detail = f"{redacted(base)}: the session was closed with {code}" + (f": {reason}" if reason else "")
    if code == _DENIED:
        return Denied(sentence or detail, name, 401 if name == "unauthorized" else 403)
    if code == _TOO_BIG:
        return TooLarge(detail)
    return ServerFault(detail) if code in _FAULTS else OutcomeUnknown(detail)


def _refused(response: HandshakeResponse) -> FanmailError:
    """Return the error for a refused handshake. Nothing was executed, whatever the status says."""
    headers = [(name.encode(), value.encode()) for name, value in response.headers.raw_items()]
    error = error_of(Response(response.status_code, decode_headers(headers), bytes(response.body or b"")))
    if isinstance(error, OutcomeUnknown):
        return Unavailable(error.detail, error.code, error.status, error.retry_after, error.fields, error.request_id)
    return error


def _websocket_url(base: str) -> str:
    parts = urlsplit(base)
    return urlunsplit(parts._replace(scheme="wss" if parts.scheme == "https" else "ws", path=parts.path + "/"))
