"""The whole HTTP API on one screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import falcon

from httpfront.api.dead_letters import DeadResource
from httpfront.api.health import IndexResource, LiveResource, ReadyResource
from httpfront.api.leases import AcksResource, ReceiptResource
from httpfront.api.router import ShapeRouter
from httpfront.api.subscriptions import SubscriptionResource
from httpfront.api.topics import TopicResource
from httpfront.delivery.long_poll import LongPoll
from httpfront.formats.limits import MessageLimits
from httpfront.gateway.gateway import Gateway
from httpfront.middleware.auth import Auth
from httpfront.middleware.guards import Guards
from httpfront.middleware.host_names import ANY, HostNames
from httpfront.middleware.problems import add_error_handlers
from httpfront.middleware.request_id import RequestId
from httpfront.middleware.rights import PUBLIC, Needs
from httpfront.openapi.description import OpenApiResource
from httpfront.openapi.parameters import Bounds


def create_app(
    gateway: Gateway,
    polls: LongPoll,
    *,
    limits: MessageLimits,
    max_name: int,
    draining: Callable[[], bool] = lambda: False,
    hosts: HostNames | None = None,
    auth: Callable[[Needs], Auth] | None = None,
) -> falcon.App[Any, Any]:
    """The WSGI application. `max_name` in bytes; `draining` says whether this front is stopping; `hosts` are the
    names by which the port may be called, any without it; `auth` makes the middleware that asks for keys, without it
    everybody may do everything.
    """
    guards = Guards(hosts or HostNames((), (ANY,), keys=False))
    middleware: list[Any] = [RequestId(), guards, *([auth(PUBLIC)] if auth else [])]
    app: falcon.App[Any, Any] = falcon.App(router=cast(Any, ShapeRouter(max_name)), middleware=middleware)
    app.resp_options.default_media_type = cast(Any, None)  # an empty answer has no type to speak of
    app.add_route("/{topic}", TopicResource(gateway, limits))
    app.add_route("/{topic}/{user}", SubscriptionResource(gateway, polls, limits))
    app.add_route("/{topic}/{user}/{receipt}", ReceiptResource(gateway))
    app.add_route("/{topic}/{user}/acks", AcksResource(gateway, limits))
    app.add_route("/{topic}/{user}/dead", DeadResource(gateway, limits))
    app.add_route("/", IndexResource())
    app.add_route("/livez", LiveResource())
    app.add_route("/readyz", ReadyResource(gateway, draining))
    app.add_route("/openapi.json", OpenApiResource(Bounds(limits, max_name, polls.max_wait), keys=auth is not None))
    add_error_handlers(app)
    return app
