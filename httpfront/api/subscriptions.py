"""`/<topic>/<user>`: subscribe, change settings, unsubscribe, read, subscription status."""

from __future__ import annotations

from typing import Any

import falcon

from common.errors import FanmailError
from common.protocol import ops
from common.protocol.ops import Op
from httpfront.delivery.long_poll import LongPoll, ReadCall, disconnected_error, is_disconnected, preference_applied
from httpfront.formats.batch import FRAMES, choose_format, present_batch
from httpfront.formats.limits import MAX_DELIVERIES, MessageLimits
from httpfront.formats.metadata import present_message
from httpfront.formats.params import (
    MICROSECOND,
    YEAR_S,
    count,
    cursor,
    duration,
    number,
    read_parameters,
    refused,
    span,
)
from httpfront.formats.receipts import parse_lease, present_receipt
from httpfront.formats.stream_parameters import STREAM_PARAMETERS, read_stream_request
from httpfront.gateway.gateway import Gateway
from httpfront.gateway.reservation import reserve_and_call
from httpfront.middleware.guards import wants_websocket
from httpfront.sessions.handshake import SESSION_PARAMETERS, SessionOpening
from httpfront.streams.opening import StreamOpening
from httpfront.streams.table import StreamTable

_NOTHING = ops.Nothing()
_SETTINGS = {"expires_after": span(1, YEAR_S, MICROSECOND, zero=True), "max_deliveries": count(MAX_DELIVERIES)}
_CHANGES = {**_SETTINGS, "after": cursor}


class SubscriptionResource:
    """One user's subscription to one topic."""

    def __init__(
        self, gateway: Gateway, polls: LongPoll, limits: MessageLimits, streams: StreamTable, sessions: SessionOpening
    ) -> None:
        self._gateway = gateway
        self._sessions = sessions
        self._streams = StreamOpening(streams)
        self._polls = polls
        self._limits = limits
        self._known = {
            "after": cursor,
            "wait": duration(polls.max_wait),
            "max": number(limits.fetch),
            "lease": parse_lease,
            **STREAM_PARAMETERS,
        }

    def on_post(self, req: falcon.Request, resp: falcon.Response, topic: bytes, user: bytes) -> None:
        """Subscribe, and set the named settings; the body is ignored."""
        settings = ops.Settings(**read_parameters(req, _SETTINGS))
        result: ops.Subscribed = self._gateway.call(Op.SUBSCRIBE, topic, user, settings)
        resp.data = b""
        resp.set_header("Subscription-Created", "true" if result.created else "false")

    def on_patch(self, req: falcon.Request, resp: falcon.Response, topic: bytes, user: bytes) -> None:
        """Set the named settings of an existing subscription, or with `after` confirm without reading."""
        values = read_parameters(req, _CHANGES)
        resp.data = b""
        after = values.pop("after", None)
        if after is not None:
            for setting in values:
                raise refused(setting, "cannot be combined with after")
            self._gateway.call(Op.CONFIRM, topic, user, ops.Confirm(*after))
            return
        if not values:
            raise FanmailError("bad-parameter", f"no setting is given; the settings are {', '.join(_SETTINGS)}")
        self._gateway.call(Op.CONFIGURE, topic, user, ops.Settings(**values))

    def on_delete(self, req: falcon.Request, resp: falcon.Response, topic: bytes, user: bytes) -> None:
        """Unsubscribe."""
        read_parameters(req, {})
        self._gateway.call(Op.UNSUBSCRIBE, topic, user, _NOTHING)
        resp.data = b""

    def on_head(self, req: falcon.Request, resp: falcon.Response, topic: bytes, user: bytes) -> None:
        """Return the subscription status; takes no message."""
        read_parameters(req, {})
        resp.set_header("Cache-Control", "no-store")
        status: ops.Status = self._gateway.call(Op.LOOK, topic, user, _NOTHING)
        resp.data = b""
        resp.set_header("Msg-Pending", str(status.pending))
        resp.set_header("Msg-Leased", str(status.leased))
        resp.set_header("Msg-Dead", str(status.dead))
        if status.seq:
            resp.set_header("Msg-Id", f"{status.epoch}-{status.seq}")

    def on_get(self, req: falcon.Request, resp: falcon.Response, topic: bytes, user: bytes) -> None:
        """Return the next message, with `max` several, or a stream. Takes nothing for a client known to be gone."""
        resp.set_header("Cache-Control", "no-store")
        if wants_websocket(req.env):
            self._sessions.open(req, resp, (topic, user), read_parameters(req, SESSION_PARAMETERS))
            return
        values = read_parameters(req, self._known)
        asked = read_stream_request(values, req.env)
        if asked is not None:
            by_header = "HTTP_LAST_EVENT_ID" in req.env
            after = read_cursor(req, {} if by_header else values)
            self._streams.open(req, resp, (topic, user), asked, after, by_header)
            return
        leased = "lease" in values
        form = choose_format(req.env.get("HTTP_ACCEPT", ""), leased) if "max" in values else ""
        ask = self._ask(req, values, form)
        wait = values["wait"] if "wait" in values else self._polls.preferred(req)
        if is_disconnected(req):
            raise disconnected_error()
        found = reserve_and_call(self._gateway, req.env, ask.op, topic, user, ask.args, ask.usual)
        if found is None and wait:
            found = self._polls.poll(req, resp, topic, user, ask, wait)
        elif wait is not None:
            resp.set_header("Preference-Applied", preference_applied(wait))
        if found is None:
            resp.status = falcon.HTTP_204
        elif form:
            present_batch(found, form, resp, leased)
        else:
            present_message(found, resp)
            if leased:
                present_receipt(found, topic, user, resp)

    def _ask(self, req: falcon.Request, values: dict[str, Any], form: str) -> ReadCall:
        if not values and "HTTP_LAST_EVENT_ID" not in req.env:
            return ReadCall(Op.TAKE, ops.Take(), self._limits.body)
        after = read_cursor(req, values)
        lease = values.get("lease", 0)
        if lease and after is not None:
            raise refused("lease", "cannot be combined with after or Last-Event-ID")
        cursor_args = (after is not None, *(after or ("", 0)))
        if not form:
            return ReadCall(Op.TAKE, ops.Take(*cursor_args, lease), self._limits.body)
        return ReadCall(
            Op.FETCH, ops.Fetch(*cursor_args, values["max"], self._limits.fetch_bytes, form == FRAMES, lease)
        )


def read_cursor(req: falcon.Request, values: dict[str, Any]) -> tuple[str, int] | None:
    """Return the cursor in `after` or `Last-Event-ID`. Raises `bad-parameter` where they differ."""
    given = req.env.get("HTTP_LAST_EVENT_ID")
    after: tuple[str, int] | None = values.get("after")
    if given is None:
        return after
    try:
        header = cursor(given)
    except ValueError as error:
        raise FanmailError("bad-parameter", f"header Last-Event-ID {error}", parameter="Last-Event-ID") from None
    if after is not None and after != header:
        raise FanmailError("bad-parameter", "after and Last-Event-ID differ", parameter="after")
    return header
