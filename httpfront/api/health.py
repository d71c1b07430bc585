"""`/livez` and `/readyz`: probes of orchestrators and load balancers."""

from __future__ import annotations

from collections.abc import Callable

import falcon

from httpfront.environ import ANONYMOUS
from httpfront.formats.documents import render
from httpfront.formats.params import flag, read_parameters
from httpfront.gateway.gateway import Gateway


class LiveResource:
    """Answers 200 while this process answers at all."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_parameters(req, {})
        render(resp, {"live": True})

    on_head = on_get


class ReadyResource:
    """Answers 200 while any broker answers, or with `strict=1` all; 503 while this front drains.

    Where keys are required, the names of brokers are for clients with a key only.
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
        if ANONYMOUS not in req.env:
            document["missing"] = missing
            candidates = self._gateway.candidates()
            if candidates:
                document["unproven"] = sorted({each.broker for each in candidates if each.unproven})
        render(resp, document)

    on_head = on_get
