"""Routes by shape: the method and the number of path segments. No topic or user name is reserved.

Behind topic and user a third segment is one of our words, or else a receipt.

The raw path is split and each segment decoded once, to bytes (`common.names`). WSGI's PATH_INFO is decoded before it is
split, so that `a%2Fb` would be two segments, and broken UTF-8 is replaced, so that `%FF` and `%FE` would be one topic.
"""

from __future__ import annotations

from typing import Any

import falcon
from falcon.routing.util import map_http_methods

from common.errors import FanmailError
from common.names import parse_name
from httpfront.environ import NO_ROUTE, ROUTE
from httpfront.formats.paths import OPTIONS, SERVER, raw_path
from httpfront.middleware.routing import Found, Methods, Route, whole_server

NAMES = ("topic", "user")
"""The first segments of a path, in order; a third one is ours."""
RECEIPT = "{receipt}"
REMEMBERED, REMEMBERED_BYTES = 1024, 256
"""Paths whose route is remembered, and the longest of them."""


class ShapeRouter:
    """A Falcon router (its custom-router interface: `add_route` and `find`)."""

    def __init__(self, max_name: int) -> None:
        """Set the longest name, in bytes."""
        self._max_name = max_name
        self._by_count: dict[int, Route] = {}
        self._by_word: dict[str, Route] = {}
        """Routes of three segments, by the last of them."""
        self._fixed: dict[str, Route] = {}
        self._known: dict[tuple[str, str], Found] = {}
        """What was found for a method and a path; the same clients send the same paths again, but not receipts."""

    def add_route(self, uri_template: str, resource: object, **kwargs: Any) -> None:
        """Add a resource for a template: `/`, `/word`, or `{topic}`, `{user}` and then `{receipt}` or a word.

        A fixed word shares the path with the topic of the same name, so their methods must differ.
        """
        methods = Methods(map_http_methods(resource))
        route = Route(resource, methods, uri_template)
        segments = uri_template[1:].split("/")
        if len(segments) == 3 and segments[2] != RECEIPT:
            self._by_word[segments[2]] = route
        elif segments[0].startswith("{"):
            self._by_count[len(segments)] = route
        else:
            self._fixed[uri_template] = route

    def find(self, uri: str, req: falcon.Request) -> Found:
        """Find the route of a request for Falcon; `uri` is the decoded path and not used. Raises `bad-name`."""
        env = req.env
        path = env["REQUEST_URI"]
        if "?" in path:
            path = path.partition("?")[0]
        known = self._known.get((req.method, path))
        if known is not None:
            env[ROUTE] = known[3]
            return known
        found = self._search(req, raw_path(path))
        if req.method in found[1] and len(path) <= REMEMBERED_BYTES and "receipt" not in found[2]:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[req.method, path] = found
        return found

    def _search(self, req: falcon.Request, path: str) -> Found:
        if path == SERVER:
            routes = (*self._by_count.values(), *self._by_word.values(), *self._fixed.values())
            return whole_server(req, routes)
        segments = path[1:].split("/")
        by_shape = self._by_count.get(len(segments))
        fixed = self._fixed.get(path)
        if fixed is not None and (req.method in fixed.methods or by_shape is None):
            return self._found(req, fixed, {})
        if by_shape is None:
            req.env[ROUTE] = NO_ROUTE
            raise FanmailError("no-route", f"no call has {len(segments)} path segments")
        names: dict[str, Any] = {}
        if len(segments) == 3:
            by_shape = self._third(req, by_shape, segments, names)
        req.env[ROUTE] = by_shape.template
        known = req.method in by_shape.methods
        if known or (req.method == OPTIONS and fixed is None):
            limit = self._max_name
            for i, segment in enumerate(segments):
                names[NAMES[i]] = parse_name(segment, NAMES[i], limit)
        return self._found(req, by_shape, names) if known else self._other(req, fixed, by_shape, names)

    def _third(self, req: falcon.Request, receipts: Route, segments: list[str], names: dict[str, Any]) -> Route:
        """Remove the last segment; return the route of our word, or `receipts` with the receipt in `names`.

        An empty segment is refused here, whatever the method: the path of a subscription with a slash too many is no
        call with a receipt.
        """
        if "" in segments:
            req.env[ROUTE] = receipts.template
            raise FanmailError("bad-name", "a segment of the path is empty")
        last = segments.pop()
        route = self._by_word.get(last)
        if route is None:
            names["receipt"] = last
        return route or receipts

    def _other(self, req: falcon.Request, fixed: Route | None, by_shape: Route, names: dict[str, Any]) -> Found:
        """Find the route for OPTIONS or an unknown method: `Allow` has the methods of both, but `/` is no name."""
        if fixed is None:
            return self._found(req, by_shape, names)
        methods = fixed.methods if fixed.template == "/" else by_shape.methods | fixed.methods
        return self._found(req, by_shape._replace(methods=Methods(methods)), {})

    def _found(self, req: falcon.Request, route: Route, names: dict[str, Any]) -> Found:
        req.env[ROUTE] = route.template
        return route.resource, route.methods, names, route.template
