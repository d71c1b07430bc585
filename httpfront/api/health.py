"""`/`, `/livez`, `/readyz`: what a person, an orchestrator and a load balancer ask first."""

from __future__ import annotations

from collections.abc import Callable

import falcon
import msgspec

from common.version import VERSION
from httpfront.formats.params import flag, read_parameters
from httpfront.gateway.gateway import Gateway
from httpfront.middleware.guards import refuse_streams


def render(resp: falcon.Response, document: object) -> None:
    """A JSON answer that nobody keeps."""
    resp.content_type = falcon.MEDIA_JSON
    resp.data = msgspec.json.encode(document) + b"\n"
    resp.set_header("Cache-Control", "no-store")


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


class LiveResource:
    """200 while this process answers at all."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_parameters(req, {})
        render(resp, {"live": True})

    on_head = on_get


class ReadyResource:
    """200 while any broker answers; with `strict=1` all must. 503 while this front drains. Where keys are asked
    for, only who has one is told the names of the brokers that are missing.
    """

    def __init__(self, gateway: Gateway, draining: Callable[[], bool]) -> None:
        self._gateway = gateway
        self._draining = draining

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        strict = read_parameters(req, {"strict": flag}).get("strict", False)
        brokers = self._gateway.brokers()
        missing = sorted(broker for broker, up in brokers.items() if not up)
        enough = bool(brokers) and (not missing if strict else len(missing) < len(brokers))
        ready = enough and not self._draining()
        if not ready:
            resp.status = falcon.HTTP_503
            resp.set_header("Retry-After", "1")
        document: dict[str, object] = {"ready": ready, "draining": self._draining(), "brokers": len(brokers)}
        if "fanmail.stranger" not in req.env:
            document["missing"] = missing
        render(resp, document)

    on_head = on_get
