"""The application of the operations port: probes, metrics, the admin API and the dashboard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from httpfront import routes
from httpfront.admin.brokers import BrokersResource, ConfigResource, PauseResource
from httpfront.admin.dashboard import DashboardResource
from httpfront.admin.delayed import DelayedOneResource, DelayedResource, DelayedTopicsResource
from httpfront.admin.front_metrics import FrontMetrics
from httpfront.admin.metrics import BrokerMetricsResource, MetricsResource
from httpfront.admin.router import AdminRouter
from httpfront.admin.slots import SlotMoveResource, SlotPlanResource, SlotsPauseResource, SlotsResource
from httpfront.admin.subscriptions import MessagesResource, UserResource, UsersResource
from httpfront.admin.topics import TopicAdminResource, TopicsResource
from httpfront.api.health import LiveResource, ReadyResource
from httpfront.api.parts import AppParts
from httpfront.budget import UNBOUNDED, Budget
from httpfront.middleware.exchange import App
from httpfront.middleware.host_names import HostNames
from httpfront.middleware.stack import new_app


@dataclass(frozen=True, slots=True)
class Observed:
    """What the operations port shows of its own front."""

    metrics: FrontMetrics
    connections: Callable[[], int] = int
    """Open connections of the public port."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The settings of the front."""
    budget: Budget = field(default_factory=lambda: Budget(UNBOUNDED))
    """The bytes that connections hold."""


def create_admin_app(parts: AppParts, front: Observed, hosts: HostNames | None = None) -> App:
    """Return the WSGI application of the operations port.

    `hosts` are the host names that it accepts, any for None.
    """
    app = new_app(AdminRouter(parts.max_name), hosts, parts.auth_for(routes.OPERATIONS_PORT))
    gateway = parts.gateway
    resources = {
        routes.INDEX: DashboardResource(),
        routes.LIVEZ: LiveResource(),
        routes.READYZ: ReadyResource(gateway, parts.draining),
        routes.OPENAPI: parts.description(),
        routes.FRONT_METRICS: MetricsResource(
            gateway, parts.polls, parts.streams, parts.sessions, front.metrics, front.connections, front.budget
        ),
        routes.BROKER_METRICS: BrokerMetricsResource(gateway),
        routes.ALL_TOPICS: TopicsResource(gateway),
        routes.ONE_TOPIC: TopicAdminResource(gateway),
        routes.TOPIC_DELAYED: DelayedResource(gateway),
        routes.ONE_DELAYED: DelayedOneResource(gateway),
        routes.TOPIC_SUBSCRIPTIONS: UsersResource(gateway),
        routes.ONE_SUBSCRIPTION: UserResource(gateway),
        routes.MESSAGES: MessagesResource(gateway),
        routes.ALL_DELAYED: DelayedTopicsResource(gateway),
        routes.BROKERS: BrokersResource(gateway),
        routes.BROKER_PAUSE: PauseResource(gateway),
        routes.BROKER_DRAIN: PauseResource(gateway),
        routes.SLOTS: SlotsResource(gateway),
        routes.SLOTS_PLAN: SlotPlanResource(gateway),
        routes.SLOTS_PAUSE: SlotsPauseResource(gateway),
        routes.SLOT_MOVE: SlotMoveResource(gateway),
        routes.CONFIG: ConfigResource(front.settings),
    }
    routes.add_routes(app, routes.OPERATIONS_PORT, resources)
    return app
