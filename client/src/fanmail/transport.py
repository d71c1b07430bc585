"""The use of httpx that the sync and the asyncio client share: settings, requests, responses and errors."""

from __future__ import annotations

import os
import random
import secrets
import ssl
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import httpx

from fanmail.api_key import find_api_key
from fanmail.encoding import checked_header, encode_header, redacted
from fanmail.exchange import Exchange
from fanmail.flow import Environment, Send
from fanmail.http_call import NoResponse, Response
from fanmail.responses import decode_headers
from fanmail.retry import BaseUrls, Retries

URL, OPS_URL = "FANMAIL_URL", "FANMAIL_OPS_URL"
DEFAULT_URL = "http://127.0.0.1:8100"
"""The first front of `bin/quickstart`."""
DEFAULT_OPS_URL = "http://127.0.0.1:9100"
"""The operations port of that front."""
CONNECT_TIMEOUT_S = 5.0
KEEP_ALIVE_S = 30.0
"""Well below the server's idle timeout, so that the server does not close a connection just when it is used."""
REQUEST_ID = "X-Request-Id"
OWN_ID_PREFIX = b"fanmail-py-"
"""The beginning of request ids that this package makes."""
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_HEADERS = {"User-Agent": "fanmail-python", "Accept-Encoding": "identity"}

REAL_ENVIRONMENT = Environment(time.monotonic, random.random, lambda: uuid.uuid4().hex)

Urls = str | Iterable[str] | None


def base_urls(urls: Urls, variable: str = URL, default: str = DEFAULT_URL) -> list[str]:
    """Return base URLs from a text (separated by commas or blanks), from several, or from an environment variable.

    >>> base_urls("http://127.0.0.1:8100, http://127.0.0.1:8101")
    ['http://127.0.0.1:8100', 'http://127.0.0.1:8101']
    """
    if urls is None:
        urls = os.environ.get(variable) or default
    return urls.replace(",", " ").split() if isinstance(urls, str) else list(urls)


def new_exchange(urls: list[str], retries: Retries, timeout_s: float) -> Exchange:
    """Return the state of a client without its connections. Raises ValueError for a malformed base URL."""
    base_urls = BaseUrls(urls)
    for url in urls:
        try:
            is_valid = bool(httpx.URL(url).host)
        except httpx.InvalidURL:
            is_valid = False
        if not is_valid:
            raise ValueError(f"{redacted(url)!r} is not a base URL")
    return Exchange(base_urls, retries, timeout_s, REAL_ENVIRONMENT)


def httpx_settings(headers: Mapping[str, str] | None, api_key: str | None, urls: list[str]) -> dict[str, Any]:
    """Return the arguments of `httpx.Client` and `httpx.AsyncClient`.

    Raises ValueError for a malformed API key and for a key beside other credentials.
    """
    sent = _HEADERS | dict(checked_header(name, value) for name, value in (headers or {}).items())
    has_credentials = any(name.lower() == "authorization" for name in sent) or any(
        "@" in urlsplit(each).netloc for each in urls
    )
    if has_credentials and api_key:
        raise ValueError(
            "an API key cannot be combined with an Authorization header or with a user name or password in a base URL"
        )
    key = "" if has_credentials else find_api_key(api_key)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=KEEP_ALIVE_S)
    sent |= {"Authorization": f"Bearer {key}"} if key else {}
    fields = [(name.encode("ascii"), encode_header(value)) for name, value in sent.items()]
    # A redirect is not followed: it could send the API key to another host.
    return {"headers": fields, "limits": limits, "follow_redirects": False, "verify": default_ssl_context()}


def default_ssl_context() -> ssl.SSLContext:
    """Return the context of all clients with these values of `SSL_CERT_FILE` and `SSL_CERT_DIR`.

    Loading the certificates takes longer than everything else that a client does when it is made.
    """
    return _ssl_context(os.environ.get("SSL_CERT_FILE", ""), os.environ.get("SSL_CERT_DIR", ""))


@cache
def _ssl_context(cert_file: str, cert_dir: str) -> ssl.SSLContext:
    return httpx.create_ssl_context()


def build_request(
    http: httpx.Client | httpx.AsyncClient, send: Send, note_opened: Callable[[str, Mapping[str, Any]], object]
) -> httpx.Request:
    """Return a request for httpx, which calls `note_opened` with the events of its connections.

    The target is passed as an extension, as httpx would resolve the dots in it. Every try gets an id of its own; see
    `belongs_to_another`.
    """
    request = send.request
    base = httpx.URL(send.base)
    headers = [(name.encode("ascii"), encode_header(value)) for name, value in request.headers]
    if REQUEST_ID not in http.headers:
        headers.append((REQUEST_ID.encode(), OWN_ID_PREFIX + secrets.token_hex(8).encode()))
    return http.build_request(
        request.method,
        base,
        headers=headers,
        content=request.body or None,
        timeout=httpx.Timeout(send.timeout_s, connect=min(send.timeout_s, CONNECT_TIMEOUT_S)),
        extensions={"target": base.raw_path.rstrip(b"/") + request.target.encode("ascii"), "trace": note_opened},
    )


def belongs_to_another(request: httpx.Request, response: httpx.Response) -> bool:
    """Return whether a response has the id that a client gave to another request.

    httpcore keeps what follows a response and uses it as the response to the next request on the connection: one that
    is duplicated on the way would shift all later ones. Ids that proxies and other programs made are ignored.
    """
    given = _request_id(response.headers)
    return given.startswith(OWN_ID_PREFIX) and given != _request_id(request.headers)


def _request_id(headers: httpx.Headers) -> bytes:
    """Return the undecoded id, as httpx would determine the encoding of all headers before it returns one."""
    return next((value for name, value in headers.raw if name.lower() == b"x-request-id"), b"")


def mismatched(send: Send) -> NoResponse:
    """Return the outcome for a response to another request: this request may have been executed."""
    return NoResponse(True, f"{redacted(send.base)}: received the response to another request")


def to_response(response: httpx.Response, body: bytes) -> Response:
    """Return a response with its undecoded body, as the Content-Encoding is that of the message."""
    return Response(response.status_code, decode_headers(response.headers.raw), body)


def to_no_response(send: Send, error: httpx.TransportError) -> NoResponse:
    """Return the outcome for an error of the connection."""
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return NoResponse(not isinstance(error, _NOT_SENT), f"{redacted(send.base)}: {reason}")
