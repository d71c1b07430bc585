"""Falcon's application, request and response without what no call here needs: a third of Falcon's time.

Its constructors set 40 attributes per exchange and parse the query, which `read_parameters` does its own way. What is
left out here has Falcon's value once it is asked for, except `media` of a request, which no call has.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import falcon
from falcon.uri import parse_query_string
from falcon.util.misc import code_to_http_status


class Request(falcon.Request):
    """A request whose rarely used attributes are made when they are asked for."""

    is_websocket = False
    uri_template = None
    _bounded_stream = None
    _cached_access_route = _cached_forwarded = _cached_forwarded_prefix = _cached_forwarded_uri = None
    _cached_headers = _cached_headers_lower = _cached_prefix = _cached_relative_uri = _cached_uri = None

    def __init__(self, env: dict[str, Any], options: falcon.RequestOptions | None = None) -> None:
        self.env = env
        self.options = options or falcon.RequestOptions()
        self.method = env["REQUEST_METHOD"]
        self.path = env["PATH_INFO"]  # still latin-1: the routers read REQUEST_URI
        self.query_string = env["QUERY_STRING"]
        self.stream = env["wsgi.input"]

    @cached_property
    def _params(self) -> dict[str, Any]:  # type: ignore[override]
        return parse_query_string(self.query_string, keep_blank=True) if self.query_string else {}

    @cached_property
    def _wsgierrors(self) -> Any:  # type: ignore[override]
        return self.env["wsgi.errors"]

    @cached_property
    def content_type(self) -> str | None:  # type: ignore[override]
        return self.env.get("CONTENT_TYPE")

    @cached_property
    def context(self) -> Any:  # type: ignore[override]
        return self.context_type()


class Response(falcon.Response):
    """A response with status, headers, `data` and `stream`; the rest is made when it is asked for."""

    text = stream = None
    _extra_headers = _cookies = _media = None

    data = falcon.Response._data  # the slot itself, without Falcon's property around it

    def __init__(self, options: falcon.ResponseOptions | None = None) -> None:
        self.status = falcon.HTTP_200
        self._headers = {}
        self.options = options or falcon.ResponseOptions()
        self.data = None

    @cached_property
    def context(self) -> Any:  # type: ignore[override]
        return self.context_type()

    def set_header(self, name: str, value: str) -> None:
        """Set a header other than Set-Cookie."""
        self._headers[name.lower()] = value

    def set_headers(self, headers: Any) -> None:
        """Set headers other than Set-Cookie: a mapping, or pairs of name and value."""
        mine = self._headers
        for name, value in headers.items() if isinstance(headers, dict) else headers:
            mine[name.lower()] = value


class App(falcon.App[falcon.Request, falcon.Response]):
    """Falcon's application for middleware without `process_response`."""

    def __call__(self, env: dict[str, Any], start_response: Any) -> Any:
        """Do for one exchange what Falcon does: middleware, router, responder, error handlers, answer."""
        req = Request(env, self.req_options)
        resp = Response(self.resp_options)
        params: dict[str, Any] = {}
        before, beside, _ = self._middleware
        search: Any = self._router_search
        try:
            process_request: Any
            for process_request in before:
                process_request(req, resp)
                if resp.complete:
                    break
            else:
                resource, methods, params, req.uri_template = search(req.path, req)
                for process_resource in beside:
                    process_resource(req, resp, resource, params)
                    if resp.complete:
                        break
                else:
                    methods[req.method](req, resp, **params)
        except Exception as error:
            if not self._handle_exception(req, resp, error, params):
                raise
        try:
            return self._render(req, resp, start_response)
        except Exception as error:
            if not self._handle_exception(req, resp, error, params):
                raise
            return self._render(req, resp, start_response)

    def _render(self, req: Request, resp: Response, start_response: Any) -> Any:
        """Pass status and headers on, and return the body."""
        status = code_to_http_status(resp.status)
        data = resp.data
        body: Any
        length: int | None
        if data is not None and resp.stream is None and resp.text is None:
            body, length = [data], len(data)
        else:
            body, length = self._get_body(resp, req.env.get("wsgi.file_wrapper"))
        headers = resp._headers
        if status in (falcon.HTTP_204, falcon.HTTP_304):
            body = []
        elif req.method == "HEAD":
            body = []
            if length is not None:
                headers.setdefault("content-length", str(length))
        elif length is not None:
            headers["content-length"] = str(length)
        start_response(status, resp._wsgi_headers() if resp._extra_headers or resp._cookies else list(headers.items()))
        return body
