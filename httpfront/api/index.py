"""`/`: what this server is and takes."""

from __future__ import annotations

import falcon

from common.version import VERSION
from httpfront.formats.documents import render
from httpfront.formats.params import read_parameters
from httpfront.middleware.guards import refuse_streams


class IndexResource:
    """What this server is and takes."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        refuse_streams(req.env)
        read_parameters(req, {})
        calls = {
            "POST /{topic}/{user}": "subscribe; ?expires_after= and ?max_deliveries= are its settings",
            "PATCH /{topic}/{user}": "change those settings",
            "DELETE /{topic}/{user}": "unsubscribe",
            "POST /{topic}": "publish the body; ?batch= many, ?ttl=, ?delay=, and Idempotency-Key",
            "GET /{topic}/{user}": "next message, 204 where none waits; ?after=, ?lease=, ?wait=, ?max=",
            "HEAD /{topic}/{user}": "how the subscription stands",
            "DELETE /{topic}/{user}/{receipt}": "a leased message is done",
            "PATCH /{topic}/{user}/{receipt}": "?lease= extends a lease; 0 gives the message back",
            "POST /{topic}/{user}/acks": "all these are done: receipts, one a line",
            "GET /{topic}/{user}/dead": "messages that were leased too often; POST puts them back, DELETE drops them",
            "GET /openapi.json": "all of this, for machines",
            "GET /livez": "this process is alive",
            "GET /readyz": "200 while any broker answers; ?strict=1 wants all",
        }
        render(resp, {"name": "fanmail", "version": VERSION, "calls": calls})

    on_head = on_get
