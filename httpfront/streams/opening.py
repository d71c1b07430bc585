"""Opening a stream: everything that can be refused is, before the head of the answer is sent."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import falcon

from common.errors import FanmailError
from common.keys.access_rules import CONSUME
from common.keys.api_keys import ApiKey
from common.protocol import ops
from common.protocol.ops import Op
from httpfront.environ import API_KEY, KEY_IN_FORCE, REQUEST_ID, STREAM
from httpfront.formats.documents import problem_of
from httpfront.formats.metadata import SAFE_HEADERS
from httpfront.formats.sse import ServerSentEvents
from httpfront.formats.stream_lines import StreamLines
from httpfront.formats.stream_parameters import SSE, StreamRequest
from httpfront.outlet import Outlet
from httpfront.streams.origin import StreamOrigin
from httpfront.streams.stream import Stream
from httpfront.streams.table import StreamTable

RETRY_MS = (1000, 5000)
"""Bounds of the time after which a client connects again, random for each."""
_LATER = (429, 503, 504)
"""Statuses after which a browser must come back; at any but 200 it gives up for ever."""
_JSON, _TEXT, _LINES = ServerSentEvents(), ServerSentEvents(text=True), StreamLines()


class StreamOpening:
    """Answers requests for streams."""

    def __init__(self, table: StreamTable) -> None:
        self._table = table

    def open(
        self,
        req: falcon.Request,
        resp: falcon.Response,
        mailbox: tuple[bytes, bytes],
        asked: StreamRequest,
        after: tuple[str, int] | None,
        by_header: bool,
    ) -> None:
        """Open a stream and let the connection start it. Raises as a read with `after`, and `front-busy`.

        `by_header`: `after` is a `Last-Event-ID`. One that is lost does not end the stream, since a browser would send
        it again and again.
        """
        form = _LINES if asked.form != SSE else _TEXT if asked.text else _JSON
        resp.content_type = form.media_type
        resp.set_headers((("X-Accel-Buffering", "no"), *SAFE_HEADERS))
        try:
            first, opened, place = self._open(mailbox, form, after, by_header)
        except FanmailError as error:
            if not asked.by_accept or error.spec.status not in _LATER:
                raise
            resp.data = _retry(form) + form.event("error", problem_of(error))
            return
        origin = StreamOrigin(
            mailbox, form, asked.confirm_s, opened, place, req.env.get(REQUEST_ID, ""), _refusal(req.env, mailbox)
        )
        resp.data = b""
        start = _retry(form) + form.place(f"{opened.epoch}-{place - 1}") + form.silence
        req.env[STREAM] = self._beginning(origin, start + first)

    def _open(
        self, mailbox: tuple[bytes, bytes], form: ServerSentEvents | StreamLines, after: Any, by_header: bool
    ) -> tuple[bytes, ops.StreamOpened, int]:
        """Return the events to begin with, what the broker answered, and the place."""
        self._table.begin_opening()
        try:
            if after is None:
                opened = self._ask(mailbox, ops.OpenStream())
                return b"", opened, opened.position
            try:
                opened = self._ask(mailbox, ops.OpenStream(True, *after))
            except FanmailError as error:
                if error.code != "cursor-lost" or not by_header:
                    raise
                opened = self._ask(mailbox, ops.OpenStream())
                return form.event("reset", {"code": error.code} | error.fields), opened, opened.position
        finally:
            self._table.end_opening()
        # A place before the position: the first answer to a read says which messages are missing.
        return b"", opened, min(after[1] + 1, opened.position) if after[0] else opened.position

    def _ask(self, mailbox: tuple[bytes, bytes], args: ops.OpenStream) -> ops.StreamOpened:
        opened: ops.StreamOpened = self._table.gateway.call(Op.STREAM, *mailbox, args)
        return opened

    def _beginning(self, origin: StreamOrigin, first: bytes) -> Callable[[Outlet], Stream]:
        def begin(outlet: Outlet) -> Stream:
            stream = Stream(self._table, origin, outlet)
            self._table.add(stream)
            stream.start(first)
            return stream

        return begin


def _retry(form: ServerSentEvents | StreamLines) -> bytes:
    return form.retry(random.randint(*RETRY_MS))


def _refusal(env: dict[str, Any], mailbox: tuple[bytes, bytes]) -> Callable[[], FanmailError | None]:
    """Return what looks at the key again."""
    key: ApiKey | None = env.get(API_KEY)
    if key is None:
        return _open_to_all
    in_force: Callable[[ApiKey], ApiKey | None] = env[KEY_IN_FORCE]
    topic, user = (name.decode() for name in mailbox)

    def refusal() -> FanmailError | None:
        now = in_force(key)
        if now is None:
            return FanmailError("unauthorized", "the API key is not valid any more")
        if now.may(CONSUME, topic, user):
            return None
        return FanmailError("forbidden", f"no rule of the key {now.id} allows this call any more")

    return refusal


def _open_to_all() -> None:
    return None
