"""The operations port on one screen: probes, metrics, and what the operator asks of the brokers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import falcon

from httpfront.admin.brokers import BrokersResource, ConfigResource, PauseResource
from httpfront.admin.dashboard import DashboardResource
from httpfront.admin.delayed import DelayedOneResource, DelayedResource, DelayedTopicsResource
from httpfront.admin.front_metrics import FrontMetrics
from httpfront.admin.metrics import MetricsResource
from httpfront.admin.router import OpsRouter
from httpfront.admin.subscriptions import MessagesResource, UserResource, UsersResource
from httpfront.admin.topics import TopicAdminResource, TopicsResource
from httpfront.api.health import LiveResource, ReadyResource
from httpfront.budget import UNBOUNDED, Budget
from httpfront.delivery.long_poll import LongPoll
from httpfront.formats.limits import MessageLimits
from httpfront.gateway.gateway import Gateway
from httpfront.middleware.auth import Auth
from httpfront.middleware.guards import Guards
from httpfront.middleware.host_names import ANY, HostNames
from httpfront.middleware.problems import add_error_handlers
from httpfront.middleware.request_id import RequestId
from httpfront.middleware.rights import OPERATIONS, Needs
from httpfront.openapi.description import OpenApiResource
from httpfront.openapi.parameters import Bounds


def create_ops_app(
    gateway: Gateway,
    polls: LongPoll,
    metrics: FrontMetrics,
    *,
    limits: MessageLimits,
    max_name: int,
    draining: Callable[[], bool] = lambda: False,
    connections: Callable[[], int] = lambda: 0,
    settings: Mapping[str, Any] | None = None,
    hosts: HostNames | None = None,
    auth: Callable[[Needs], Auth] | None = None,
    budget: Budget | None = None,
) -> falcon.App[Any, Any]:
    """The WSGI application of the operations port. `max_name` in bytes; `draining` and `connections` are of the public
    port's server; `settings` are those that the front was started with; `hosts` are the names by which the port may be
    called, any without it. `auth` makes the middleware that asks for keys; `budget` is what connections hold.
    """
    guards = Guards(hosts or HostNames((), (ANY,), keys=False))
    middleware: list[Any] = [RequestId(), guards, *([auth(OPERATIONS)] if auth else [])]
    app: falcon.App[Any, Any] = falcon.App(router=cast(Any, OpsRouter(max_name)), middleware=middleware)
    app.resp_options.default_media_type = cast(Any, None)
    app.add_route("/", DashboardResource())
    app.add_route("/livez", LiveResource())
    app.add_route("/readyz", ReadyResource(gateway, draining))
    app.add_route("/openapi.json", OpenApiResource(Bounds(limits, max_name, polls.max_wait), keys=auth is not None))
    app.add_route("/metrics", MetricsResource(gateway, polls, metrics, connections, budget or Budget(UNBOUNDED)))
    app.add_route("/-/v1/topics", TopicsResource(gateway))
    app.add_route("/-/v1/topics/{topic}", TopicAdminResource(gateway))
    app.add_route("/-/v1/topics/{topic}/delayed", DelayedResource(gateway))
    app.add_route("/-/v1/topics/{topic}/delayed/{delayed}", DelayedOneResource(gateway))
    app.add_route("/-/v1/topics/{topic}/subscriptions", UsersResource(gateway))
    app.add_route("/-/v1/topics/{topic}/subscriptions/{user}", UserResource(gateway))
    app.add_route("/-/v1/topics/{topic}/subscriptions/{user}/messages", MessagesResource(gateway))
    app.add_route("/-/v1/delayed", DelayedTopicsResource(gateway))
    app.add_route("/-/v1/brokers", BrokersResource(gateway))
    pause = PauseResource(gateway)
    app.add_route("/-/v1/brokers/{broker}/pause", pause)
    app.add_route("/-/v1/brokers/{broker}/drain", pause)  # its name before 0.2.0
    app.add_route("/-/v1/config", ConfigResource(settings or {}))
    add_error_handlers(app)
    return app
