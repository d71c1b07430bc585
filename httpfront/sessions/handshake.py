"""The handshake of a session (RFC 6455, section 4.2), after the checks that every request passes."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from typing import Any

import falcon
from websockets.utils import accept_key

from common.errors import FanmailError
from httpfront.environ import REQUEST_ID, SESSION
from httpfront.formats.params import duration, one_of
from httpfront.formats.receipts import MAX_LEASE_S
from httpfront.outlet import SessionOutlet
from httpfront.sessions import operations as wanted
from httpfront.sessions.access import access_of
from httpfront.sessions.answers import Mailbox
from httpfront.sessions.operations import MODES
from httpfront.sessions.origin import Origin
from httpfront.sessions.readings import read_request
from httpfront.sessions.session import Session
from httpfront.sessions.table import SessionTable

SUBPROTOCOL = "fanmail.v1.json"
VERSION = "13"


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise ValueError("must be a whole number")
    return int(text)


SESSION_PARAMETERS: Mapping[str, Callable[[str], Any]] = {
    "mode": one_of(*MODES),
    "window": _whole,
    "after": str,
    "lease": duration(2 * MAX_LEASE_S),
}
"""Of a session that begins with a read."""


class SessionOpening:
    """Accepts handshakes."""

    def __init__(self, table: SessionTable) -> None:
        self._table = table

    def open(
        self, req: falcon.Request, resp: falcon.Response, mailbox: tuple[bytes, bytes] | None, values: dict[str, Any]
    ) -> None:
        """Let the connection become a session, which begins with a read of the mailbox, if any.

        `values` are the parameters. Raises `bad-parameter`, `bad-handshake`, `upgrade-required`, `draining` and
        `front-busy`.
        """
        first = None
        if mailbox is not None:
            topic, user = (name.decode() for name in mailbox)
            first = wanted.Read(topic=topic, user=user, **values)
            read_request(Mailbox(*mailbox, topic, user), first)
        key = _checked(req, resp)
        self._table.take_place()
        origin = Origin(req.env.get(REQUEST_ID, ""), access_of(req.env), first)
        resp.data = b""
        resp.set_header("Sec-WebSocket-Accept", accept_key(key))
        resp.set_header("Sec-WebSocket-Protocol", SUBPROTOCOL)
        req.env[SESSION] = self._beginning(origin), self._table.limits.message

    def _beginning(self, origin: Origin) -> Callable[[SessionOutlet], Session]:
        def begin(outlet: SessionOutlet) -> Session:
            session = Session(self._table, origin, outlet)
            self._table.add(session)
            return session

        return begin


def _checked(req: falcon.Request, resp: falcon.Response) -> str:
    """Return the key of a handshake that can be accepted."""
    env = req.env
    if req.method != "GET" or env.get("SERVER_PROTOCOL") != "HTTP/1.1" or req.stream.read():
        raise _malformed("a WebSocket handshake is a GET of HTTP/1.1 without a body")
    if not _names(env.get("HTTP_UPGRADE"), "websocket") or not _names(env.get("HTTP_CONNECTION"), "upgrade"):
        raise _malformed("Upgrade: websocket and Connection: Upgrade are required; a proxy may have removed them")
    if env.get("HTTP_SEC_WEBSOCKET_VERSION") != VERSION:
        resp.set_header("Sec-WebSocket-Version", VERSION)
        raise FanmailError("upgrade-required", f"Sec-WebSocket-Version must be {VERSION}")
    key = str(env.get("HTTP_SEC_WEBSOCKET_KEY", ""))
    if not _is_key(key):
        raise _malformed("Sec-WebSocket-Key must be 16 bytes in base64")
    if SUBPROTOCOL not in _listed(env.get("HTTP_SEC_WEBSOCKET_PROTOCOL")):
        raise _malformed(f"Sec-WebSocket-Protocol must list {SUBPROTOCOL}")
    return key


def _is_key(key: str) -> bool:
    try:
        return len(binascii.a2b_base64(key, strict_mode=True)) == 16
    except ValueError:
        return False


def _listed(value: str | None) -> list[str]:
    return [each.strip(" \t") for each in (value or "").split(",")]


def _names(value: str | None, word: str) -> bool:
    return any(each.lower() == word for each in _listed(value))


def _malformed(detail: str) -> FanmailError:
    return FanmailError("bad-handshake", detail)
