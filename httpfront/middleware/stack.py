"""The application of a port with what every request passes, before routes are added."""

from __future__ import annotations

from typing import Any, cast

from httpfront.middleware.auth import Auth
from httpfront.middleware.cors import Origins
from httpfront.middleware.exchange import App, Request, Response
from httpfront.middleware.guards import Guards
from httpfront.middleware.host_names import ANY, HostNames
from httpfront.middleware.problems import add_error_handlers
from httpfront.middleware.request_id import RequestId


def new_app(router: object, hosts: HostNames | None, auth: Auth | None, origins: Origins | None = None) -> App:
    """Return an application without routes.

    `hosts` are the names that the port accepts, any for None; `origins` are those whose pages may send requests, only
    its own for None. Without `auth` no request needs a key.
    """
    guards = Guards(hosts or HostNames((), (ANY,), keys=False), origins or Origins())
    middleware: list[Any] = [RequestId(), guards, *([auth] if auth else [])]
    assert not any(hasattr(each, "process_response") for each in middleware), "App calls none"
    app = App(request_type=Request, response_type=Response, router=cast(Any, router), middleware=middleware)
    app.resp_options.default_media_type = cast(Any, None)  # an empty answer has no media type
    add_error_handlers(app)
    return app
