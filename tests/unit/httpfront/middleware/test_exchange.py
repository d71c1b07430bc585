"""The application answers as Falcon's own does, whatever a call returns or raises."""

from __future__ import annotations

import copy
import io
from typing import Any

import falcon
import pytest
from falcon.testing import create_environ

from common.errors import FanmailError
from httpfront.api.router import ShapeRouter
from httpfront.middleware.exchange import App
from httpfront.middleware.stack import new_app
from tests.support.table import table


def set_value(req: falcon.Request, resp: falcon.Response, resource: object, params: dict[str, Any]) -> None:
    resp.set_header("X-Hook", "ran")


class Calls:
    """One kind of answer per method."""

    @falcon.before(set_value)
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.set_headers({"Msg-Id": "a", "msg-time": "b"})
        resp.content_type = "text/plain"
        resp.data = b"body"

    on_head = on_get

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.status = falcon.HTTP_204
        resp.data = b"never sent"

    def on_put(self, req: falcon.Request, resp: falcon.Response) -> None:
        raise FanmailError("topic-full", "full")

    def on_patch(self, req: falcon.Request, resp: falcon.Response) -> None:
        raise falcon.HTTPUnsupportedMediaType(title="no", headers={"X-Why": "so"})

    def on_delete(self, req: falcon.Request, resp: falcon.Response) -> None:
        raise ValueError("unforeseen")


class OtherCalls:
    """What Falcon offers and no call here uses, so that a later one may."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.text = "text, with a cookie"
        resp.set_cookie("a", "b")
        resp.append_header("X-Twice", "1")
        resp.append_header("X-Twice", "2")
        resp.context.it = 1

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.stream = io.BytesIO(b"streamed")

    def on_put(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = falcon.MEDIA_JSON
        resp.media = [req.params, req.content_type, req.get_header("X-A"), req.uri, req.remote_addr, req.path]
        req.context.it = 1

    def on_patch(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.status = falcon.HTTP_304

    def on_delete(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Nothing is set."""


class Completes:
    """Middleware that answers in place of the calls, as for a preflight."""

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.complete = "at-once" in req.query_string
        resp.data = b"at once"

    def process_resource(self, req: falcon.Request, resp: falcon.Response, resource: object, params: object) -> None:
        resp.complete = "beside" in req.query_string


@pytest.fixture(scope="module")
def app() -> App:
    made = new_app(ShapeRouter(255), None, None)
    made.add_middleware(Completes())
    made.add_route("/usual", Calls())
    made.add_route("/other", OtherCalls())
    return made


def answer_of(
    app: falcon.App[Any, Any], call: Any, method: str, target: str
) -> tuple[str, set[tuple[str, str]], bytes]:
    env = create_environ(method=method, path=target.partition("?")[0], headers={"X-Request-Id": "r", "X-A": "ä"})
    env |= {"REQUEST_URI": target, "QUERY_STRING": target.partition("?")[2], "CONTENT_TYPE": "a/b"}
    started: list[tuple[str, list[tuple[str, str]]]] = []
    body = b"".join(call(app, env, lambda *given: started.append(given)))
    status, headers = started[-1]
    return status, {(name.lower(), value) for name, value in headers}, body


TARGETS = ("/usual", "/other?a=b&a=c", "/", "/usual?at-once", "/none?at-once", "/usual?beside")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW")


@table(("target", "method"), [(target, method) for target in TARGETS for method in METHODS])
def test_every_answer_is_that_of_falcon(app: App, target: str, method: str) -> None:
    falcons = copy.copy(app)
    falcons._request_type, falcons._response_type = falcon.Request, falcon.Response
    expected = answer_of(falcons, falcon.App.__call__, method, target)
    assert answer_of(app, App.__call__, method, target) == expected
    assert answer_of(app, App.__call__, method, target) == expected, "and again, when the route is known"
