"""Every call of both ports, once: its path, its method, and the right that it needs.

The applications, the check of keys and the OpenAPI description are made from these tables. HEAD needs the right of GET.
OPTIONS needs no key where another method of its path needs none, else any key.
"""

from __future__ import annotations

from collections.abc import Mapping

import falcon
from falcon.routing.util import map_http_methods

from common.keys.access_rules import ADMIN, CONSUME, METRICS, PUBLISH, SUBSCRIBE

OPEN, ANY_KEY = "open", "any key"
"""In place of a right: no key is needed; any key in force will do."""

Routes = Mapping[str, Mapping[str, str]]
"""The right by the template of the path and the method. A template with `OPEN` has no names in it."""


def _read(right: str) -> dict[str, str]:
    return {"GET": right, "HEAD": right}


INDEX, OPENAPI, ASYNCAPI = "/", "/openapi.json", "/asyncapi.json"
LIVEZ, READYZ = "/livez", "/readyz"
FRONT_METRICS, BROKER_METRICS = "/metrics", "/metrics/brokers"
PROBES = (LIVEZ, READYZ)

TOPIC, SUBSCRIPTION, RECEIPT = "/{topic}", "/{topic}/{user}", "/{topic}/{user}/{receipt}"
ACKS, DEAD = f"{SUBSCRIPTION}/acks", f"{SUBSCRIPTION}/dead"

PUBLIC_PORT: Routes = {
    TOPIC: {"POST": PUBLISH},
    SUBSCRIPTION: {"POST": SUBSCRIBE, "PATCH": SUBSCRIBE, "DELETE": SUBSCRIBE, **_read(CONSUME)},
    RECEIPT: {"DELETE": CONSUME, "PATCH": CONSUME},
    ACKS: {"POST": CONSUME},
    DEAD: {"POST": CONSUME, "DELETE": CONSUME, **_read(CONSUME)},
    INDEX: _read(ANY_KEY),
    OPENAPI: _read(ANY_KEY),
    ASYNCAPI: _read(ANY_KEY),
    LIVEZ: _read(OPEN),
    READYZ: _read(OPEN),
}
"""The public port."""

BY_PARAMETER: Mapping[tuple[str, str], tuple[str, str]] = {(SUBSCRIPTION, "PATCH"): ("after", CONSUME)}
"""By template and method: a call that names this parameter needs this right in place of that in the table."""

ALL_TOPICS, ALL_DELAYED = "/-/v1/topics", "/-/v1/delayed"
ONE_TOPIC = f"{ALL_TOPICS}/{{topic}}"
TOPIC_DELAYED, ONE_DELAYED = f"{ONE_TOPIC}/delayed", f"{ONE_TOPIC}/delayed/{{delayed}}"
TOPIC_SUBSCRIPTIONS, ONE_SUBSCRIPTION = f"{ONE_TOPIC}/subscriptions", f"{ONE_TOPIC}/subscriptions/{{user}}"
MESSAGES = f"{ONE_SUBSCRIPTION}/messages"
BROKERS, BROKER_PAUSE, CONFIG = "/-/v1/brokers", "/-/v1/brokers/{broker}/pause", "/-/v1/config"
BROKER_DRAIN = f"{BROKERS}/{{broker}}/drain"
"""An older name of `BROKER_PAUSE`."""
SLOTS, SLOTS_PLAN, SLOTS_PAUSE = "/-/v1/slots", "/-/v1/slots/plan", "/-/v1/slots/pause"
SLOT_MOVE = f"{SLOTS}/{{slot}}/move"

OPERATIONS_PORT: Routes = {
    INDEX: _read(OPEN),
    LIVEZ: _read(OPEN),
    READYZ: _read(OPEN),
    FRONT_METRICS: _read(METRICS),
    BROKER_METRICS: _read(METRICS),
    OPENAPI: _read(ADMIN),
    ALL_TOPICS: _read(ADMIN),
    ONE_TOPIC: {"PATCH": ADMIN, "DELETE": ADMIN, **_read(ADMIN)},
    ALL_DELAYED: _read(ADMIN),
    TOPIC_DELAYED: {"DELETE": ADMIN, **_read(ADMIN)},
    ONE_DELAYED: {"DELETE": ADMIN, **_read(ADMIN)},
    TOPIC_SUBSCRIPTIONS: _read(ADMIN),
    ONE_SUBSCRIPTION: _read(ADMIN),
    MESSAGES: {"DELETE": ADMIN, **_read(ADMIN)},
    BROKERS: _read(ADMIN),
    BROKER_PAUSE: {"PUT": ADMIN, "DELETE": ADMIN},
    BROKER_DRAIN: {"PUT": ADMIN, "DELETE": ADMIN},
    SLOTS: _read(ADMIN),
    SLOTS_PLAN: _read(ADMIN),
    SLOTS_PAUSE: {"PUT": ADMIN, "DELETE": ADMIN},
    SLOT_MOVE: {"PUT": ADMIN, "DELETE": ADMIN, **_read(ADMIN)},
    CONFIG: _read(ADMIN),
}
"""The operations port. Its page at `/` holds no data and asks for a key itself."""


def add_routes(app: falcon.App[falcon.Request, falcon.Response], routes: Routes, resources: dict[str, object]) -> None:
    """Add every route of the table with its resource.

    Raises `ValueError` where a resource has no row or other methods than its row, or a row has no resource.
    """
    found = {template: set(map_http_methods(resource)) for template, resource in resources.items()}
    wanted = {template: set(methods) for template, methods in routes.items()}
    if found != wanted:
        differing = sorted(each for each in found | wanted if found.get(each) != wanted.get(each))
        raise ValueError(f"resources and routes differ: {', '.join(differing)}")
    for template in routes:
        app.add_route(template, resources[template])
