"""Routes that are remembered: the same as when they are searched, bounded, and never with a receipt."""

from __future__ import annotations

import falcon
from falcon.testing import create_environ

from httpfront.api import router
from httpfront.api.router import ShapeRouter
from httpfront.environ import ROUTE


class Resource:
    def on_get(self, req: falcon.Request, resp: falcon.Response, **names: bytes) -> None: ...


def find(shapes: ShapeRouter, target: str, method: str = "GET") -> tuple[object, str]:
    env = create_environ(method=method) | {"REQUEST_URI": target}
    found = shapes.find("", falcon.Request(env))
    return found[2], env[ROUTE]


def test_a_route_is_the_same_when_it_is_remembered_and_few_are() -> None:
    shapes = ShapeRouter(1000)
    for template in ("/", "/{topic}", "/{topic}/{user}", "/{topic}/{user}/{receipt}", "/livez"):
        shapes.add_route(template, Resource())
    for _ in range(2):
        assert find(shapes, "/a%2Fb/u?wait=1") == ({"topic": b"a/b", "user": b"u"}, "/{topic}/{user}")
        assert find(shapes, "http://h/a?b/c") == ({"topic": b"a"}, "/{topic}")
        assert find(shapes, "/livez") == ({}, "/livez")
    assert len(shapes._known) == 3
    for number in range(router.REMEMBERED + 10):
        assert find(shapes, f"/t/{number}")[0] == {"topic": b"t", "user": b"%d" % number}
        assert find(shapes, f"/t/u/{number}")[0] == {"topic": b"t", "user": b"u", "receipt": str(number)}
        find(shapes, f"/{number}", "BREW")
    assert len(shapes._known) <= router.REMEMBERED
    shapes._known.clear()
    find(shapes, "/" + "a" * router.REMEMBERED_BYTES)
    find(shapes, "/t/u/receipt")
    find(shapes, "/t", "BREW")
    assert not shapes._known
