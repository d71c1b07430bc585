"""The OpenAPI 3.1 description of the HTTP API, served at `/openapi.json`.

`openapi_calls.py` has the calls, `openapi_parameters.py` and `openapi_answers.py` what goes in and out. Errors, ranges
and patterns are taken from where they are checked, so that nobody can change one and forget the other.
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

No name is reserved: calls differ by method and by the number of path segments, so that `POST /livez` publishes to a
topic of that name. A path of another shape is 404 `no-route`, `OPTIONS` is 204 with `Allow`, another method 405
`method-not-allowed`, an empty segment 400 `bad-name`. A query parameter that is unknown for the call, repeated or
malformed is 400 `bad-parameter`, and nothing happens.

What a web page of another origin sends is 403 `foreign-origin`, whatever it asks.

503: not executed, retry freely. 504: it may have been executed, or still be, until `broker_timeout` has passed.
"""
_TAGS = {
    "messages": "Publish and receive.",
    "subscriptions": "Who receives what.",
    "leases": "Several workers on one user name.",
    "dead letters": "What was handed out too often.",
    "service": "The server itself.",
}


def describe(bounds: Bounds) -> Json:
    """The whole description, as JSON has it."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Fanmail", "version": VERSION, "summary": "Publish and subscribe", "description": _ABOUT},
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths(bounds.limits) | _service(),
        "components": {"parameters": parameters(bounds), "responses": responses(), "schemas": schemas()},
    }


def _service() -> Json:
    """The calls that no broker has to do with."""
    unready = problem(503, [])
    unready["description"] = f"Not ready, or {unready['description']}"
    unready["content"] |= body(JSON, "Ready")
    found = {
        routes.INDEX: _read("index", "What this server takes", "Index", refusals=("not-acceptable",)),
        routes.LIVEZ: _read("live", "Whether this process answers", "Live"),
        routes.READYZ: _read("ready", "Whether any broker answers, or all", "Ready", "strict", {"503": unready}),
        routes.OPENAPI: _read("describe", "This description", "Description"),
    }
    for template in routes.PROBES:  # they answer to any name
        for operation in found[template].values():
            del operation["responses"]["421"]
    return found


def _read(
    name: str, summary: str, schema: str, takes: str = "", answers: Json | None = None, refusals: tuple[str, ...] = ()
) -> Json:
    """GET and HEAD; `refusals` are codes of errors."""

    def one(operation: str, head: bool) -> Json:
        content = None if head else body(JSON, schema)
        all_answers = {"200": answer(f"{summary}.", "Cache-Control", content=content)}
        all_answers |= problems(*refusals, broker=False) | (answers or {})
        return call("service", operation, summary, takes, all_answers)

    return {"get": one(name, False), "head": one(f"{name}Head", True)}


class OpenApiResource:
    """The description, rendered once."""

    def __init__(self, bounds: Bounds, keys: bool = False) -> None:
        """`keys`: this front asks for them."""
        document = describe(bounds)
        self._rendered = msgspec.json.encode(secured(document) if keys else document) + b"\n"

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        read_parameters(req, {})
        resp.content_type = JSON
        resp.data = self._rendered
        resp.set_header("Cache-Control", "no-store")

    on_head = on_get
