"""What the routers of both ports share: answers to OPTIONS and to methods that a path does not have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import falcon

from common.errors import FanmailError
from httpfront.environ import NO_ROUTE, ROUTE
from httpfront.formats.paths import OPTIONS, SERVER

Found = tuple[object, dict[str, Any], dict[str, Any], str]
"""What Falcon needs of a router: resource, responders by method, arguments of the responder, template."""

_WHOLE = object()
"""The resource of `OPTIONS *`: it has no calls of its own, and Falcon answers 404 for None."""


class Route(NamedTuple):
    """What a router gives to Falcon for one template."""

    resource: object
    methods: dict[str, Any]
    template: str


class Methods(dict[str, Any]):
    """Responders by method. OPTIONS is answered 204, any other unknown method 405, both with `Allow`."""

    def __missing__(self, method: str) -> Any:
        allow = ", ".join(sorted({*self, OPTIONS}))

        def options(req: falcon.Request, resp: falcon.Response, **params: Any) -> None:
            resp.set_header("Allow", allow)
            resp.status = falcon.HTTP_204

        def method_not_allowed(req: falcon.Request, resp: falcon.Response, **params: Any) -> None:
            resp.set_header("Allow", allow)
            raise FanmailError("method-not-allowed", f"the methods of this path are {allow}")

        return options if method == OPTIONS else method_not_allowed


def whole_server(req: falcon.Request, routes: Iterable[Route]) -> Found:
    """Find `OPTIONS *`: the methods of all routes. Raises `no-route` for another method."""
    if req.method != OPTIONS:
        req.env[ROUTE] = NO_ROUTE
        raise FanmailError("no-route", "only OPTIONS applies to the server as a whole")
    req.env[ROUTE] = SERVER
    return _WHOLE, Methods({method: None for route in routes for method in route.methods}), {}, SERVER
