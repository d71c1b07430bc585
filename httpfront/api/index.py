"""`/`: the name of this server and its calls."""

from __future__ import annotations

import falcon

from common.version import VERSION
from httpfront.formats.documents import render
from httpfront.formats.params import read_parameters
from httpfront.middleware.guards import refuse_streams, wants_websocket
from httpfront.sessions.handshake import SessionOpening


class IndexResource:
    """The name of this server and its calls."""

    def __init__(self, sessions: SessionOpening) -> None:
        self._sessions = sessions

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Name the calls, or open a WebSocket session."""
        if wants_websocket(req.env):
            read_parameters(req, {})
            self._sessions.open(req, resp, None, {})
            return
        refuse_streams(req.env)
        read_parameters(req, {})
        calls = {
            "POST /{topic}/{user}": "subscribe; ?expires_after= and ?max_deliveries= are its settings",
            "PATCH /{topic}/{user}": "change those settings, or with ?after= acknowledge without reading",
            "DELETE /{topic}/{user}": "unsubscribe",
            "POST /{topic}": "publish the body; ?batch= many, ?ttl=, ?delay=, and Idempotency-Key",
            "GET /{topic}/{user}": "next message, 204 if there is none; ?after=, ?lease=, ?wait=, ?max=, ?stream=",
            "HEAD /{topic}/{user}": "subscription status",
            "DELETE /{topic}/{user}/{receipt}": "acknowledge a leased message",
            "PATCH /{topic}/{user}/{receipt}": "?lease= extends a lease; 0 returns the message",
            "POST /{topic}/{user}/acks": "acknowledge many: receipts, one per line",
            "GET /{topic}/{user}/dead": "messages that were leased too often; POST requeues them, DELETE deletes them",
            "GET /openapi.json": "the API as OpenAPI",
            "GET /asyncapi.json": "WebSocket sessions (GET / and GET /{topic}/{user}) as AsyncAPI",
            "GET /livez": "200 while this process is alive",
            "GET /readyz": "200 while any broker answers; with ?strict=1 all",
        }
        render(resp, {"name": "fanmail", "version": VERSION, "calls": calls})

    on_head = on_get
