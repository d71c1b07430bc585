"""Routes of the operations port: words and names by position, each segment decoded once from the raw path."""

from __future__ import annotations

from typing import Any

import falcon
from falcon.routing.util import map_http_methods

from common.errors import FanmailError
from common.names import parse_name
from httpfront.environ import NO_ROUTE, ROUTE
from httpfront.formats.paths import SERVER, raw_path
from httpfront.middleware.routing import Found, Methods, Route, whole_server


class AdminRouter:
    """A custom router of Falcon (`add_route` and `find`). A segment of a template is a word, or a name in braces."""

    def __init__(self, max_name: int) -> None:
        """`max_name` in bytes."""
        self._max_name = max_name
        self._routes: list[tuple[list[str], Route]] = []

    def add_route(self, uri_template: str, resource: object, **kwargs: Any) -> None:
        """Add a route. If several match a path, the first one counts."""
        route = Route(resource, Methods(map_http_methods(resource)), uri_template)
        self._routes.append((uri_template[1:].split("/"), route))

    def find(self, uri: str, req: falcon.Request) -> Found | None:
        """Falcon's look-up; `uri` is the decoded path and not used. Raises `bad-name` and `no-route`."""
        path = raw_path(req.env["REQUEST_URI"])
        if path == SERVER:
            return whole_server(req, (route for _, route in self._routes))
        segments = path[1:].split("/")
        for template, route in self._routes:
            if len(template) == len(segments) and all(map(_fits, template, segments)):
                req.env[ROUTE] = route.template
                names = {
                    part[1:-1]: parse_name(segment, part[1:-1], self._max_name)
                    for part, segment in zip(template, segments, strict=True)
                    if part.startswith("{")
                }
                return route.resource, route.methods, names, route.template
        req.env[ROUTE] = NO_ROUTE
        raise FanmailError("no-route", "the operations port has no such path")


def _fits(part: str, segment: str) -> bool:
    return part.startswith("{") or part == segment
