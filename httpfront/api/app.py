"""The whole HTTP API on one screen."""

from __future__ import annotations

from httpfront import routes
from httpfront.api.dead_letters import DeadResource
from httpfront.api.health import LiveResource, ReadyResource
from httpfront.api.index import IndexResource
from httpfront.api.leases import AcksResource, ReceiptResource
from httpfront.api.parts import AppParts
from httpfront.api.router import ShapeRouter
from httpfront.api.subscriptions import SubscriptionResource
from httpfront.api.topics import TopicResource
from httpfront.middleware.cors import Origins
from httpfront.middleware.exchange import App
from httpfront.middleware.host_names import HostNames
from httpfront.middleware.stack import new_app
from httpfront.sessions.asyncapi import AsyncApiResource
from httpfront.sessions.handshake import SessionOpening


def create_app(parts: AppParts, hosts: HostNames | None = None, origins: Origins | None = None) -> App:
    """Return the WSGI application of the public port.

    `hosts` are the names that it accepts, any for None; `origins` the foreign ones whose pages may call it.
    """
    app = new_app(ShapeRouter(parts.max_name), hosts, parts.auth_for(routes.PUBLIC_PORT), origins)
    gateway, limits = parts.gateway, parts.limits
    sessions = SessionOpening(parts.sessions)
    resources = {
        routes.TOPIC: TopicResource(gateway, limits),
        routes.SUBSCRIPTION: SubscriptionResource(gateway, parts.polls, limits, parts.streams, sessions),
        routes.RECEIPT: ReceiptResource(gateway),
        routes.ACKS: AcksResource(gateway, limits),
        routes.DEAD: DeadResource(gateway, limits),
        routes.INDEX: IndexResource(sessions),
        routes.LIVEZ: LiveResource(),
        routes.READYZ: ReadyResource(gateway, parts.draining),
        routes.OPENAPI: parts.description(),
        routes.ASYNCAPI: AsyncApiResource(parts.sessions.limits),
    }
    routes.add_routes(app, routes.PUBLIC_PORT, resources)
    return app
