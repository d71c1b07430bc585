"""The OpenAPI 3.1 description of the HTTP API, served at `/openapi.json`.

`calls.py` has the calls, `parameters.py` and `answers.py` what goes in and out. Errors, ranges and patterns are taken
from the code that checks them, so that they cannot differ.
"""

from __future__ import annotations

import falcon
import msgspec

from common.version import VERSION
from httpfront import routes
from httpfront.formats.params import read_parameters
from httpfront.openapi.answers import JSON, Json, answer, body, problem, problems, responses, schemas
from httpfront.openapi.calls import call, paths
from httpfront.openapi.parameters import Bounds, parameters
from httpfront.openapi.security import secured

_ABOUT = """\
A *topic* has *subscribers* (users); each message published to it is kept until every user who was subscribed when it
was published has received it or unsubscribed, then removed.

No name is reserved: calls differ by method and by the number of path segments, so `POST /livez` publishes to a topic
of that name. A path of another shape is 404 `no-route`, `OPTIONS` is 204 with `Allow`, any other method 405
`method-not-allowed`, an empty segment 400 `bad-name`. A query parameter that is unknown for the call, repeated or
malformed is 400 `bad-parameter`, and nothing is executed.

Every request of a web page of another origin is 403 `foreign-origin`.

503: not executed, retry freely. 504: unknown; it may be executed until `broker_timeout` is over.
"""
_OF_HANDSHAKES = ("bad-handshake", "not-acceptable", "upgrade-required")
"""Of a path at which a WebSocket session can be opened (`/asyncapi.json`)."""
_TAGS = {
    "messages": "Publish and receive.",
    "subscriptions": "Subscriptions and their settings.",
    "leases": "Several workers for one user.",
    "dead letters": "Messages that were delivered too often.",
    "service": "The server itself.",
}


def describe(bounds: Bounds) -> Json:
    """Return the whole description, as JSON objects."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Fanmail", "version": VERSION, "summary": "Publish and subscribe", "description": _ABOUT},
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths(bounds.limits) | _service(),
        "components": {"parameters": parameters(bounds), "responses": responses(), "schemas": schemas()},
    }


def _service() -> Json:
    """Return the calls that need no broker."""
    unready = problem(503, [])
    unready["description"] = f"Not ready, or {unready['description']}"
    unready["content"] |= body(JSON, "Ready")
    found = {
        routes.INDEX: _read("index", "The calls of this server", "Index", refusals=_OF_HANDSHAKES),
        routes.LIVEZ: _read("live", "Whether this process answers", "Live"),
        routes.READYZ: _read("ready", "Whether any broker answers, or all", "Ready", "strict", {"503": unready}),
        routes.OPENAPI: _read("describe", "This description", "Description"),
        routes.ASYNCAPI: _read("describeSessions", "WebSocket sessions as AsyncAPI 3", "SessionDescription"),
    }
    for template in routes.PROBES:  # they accept any host name
        for operation in found[template].values():
            del operation["responses"]["421"]
    return found


def _read(
    name: str, summary: str, schema: str, takes: str = "", answers: Json | None = None, refusals: tuple[str, ...] = ()
) -> Json:
    """Return GET and HEAD; `refusals` are error codes."""

    def one(operation: str, head: bool) -> Json:
        content = None if head else body(JSON, schema)
        all_answers = {"200": answer(f"{summary}.", "Cache-Control", content=content)}
        all_answers |= problems(*refusals, broker=False) | (answers or {})
        return call("service", operation, summary, takes, all_answers)

    return {"get": one(name, False), "head": one(f"{name}Head", True)}


class OpenApiResource:
    """The description, rendered once."""

    def __init__(self, bounds: Bounds, keys: bool = False) -> None:
        """Render it; `keys`: this front requires API keys."""
        document = describe(bounds)
        self._rendered = msgspec.json.encode(secured(document) if keys else document) + b"\n"

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_parameters(req, {})
        resp.content_type = JSON
        resp.data = self._rendered
        resp.set_header("Cache-Control", "no-store")

    on_head = on_get
