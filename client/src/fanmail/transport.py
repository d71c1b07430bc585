"""What both clients have in common with httpx: how it is set up, and what its requests, answers and errors mean."""

from __future__ import annotations

import os
import random
import secrets
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from fanmail.answers import lowered
from fanmail.api_key import find_api_key
from fanmail.exchange import Exchange
from fanmail.retry import Places, Retries
from fanmail.targets import encoded, header, shown
from fanmail.values import Lost, Response, Send, World

URL, OPS_URL = "FANMAIL_URL", "FANMAIL_OPS_URL"
DEFAULT_URL = "http://127.0.0.1:8100"
"""The first front of `bin/quickstart`."""
DEFAULT_OPS_URL = "http://127.0.0.1:9100"
"""The operations port of that front."""
CONNECT_TIMEOUT = 5.0
KEEP_ALIVE = 30.0
"""Seconds; well below the server's idle timeout, so that a connection is not closed just when it is used."""
REQUEST_ID = "X-Request-Id"
OWN_ID = b"fanmail-py-"
"""Ids of requests of this package begin with it."""
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_HEADERS = {"User-Agent": "fanmail-python", "Accept-Encoding": "identity"}

REAL = World(time.monotonic, random.random, lambda: uuid.uuid4().hex)

Urls = str | Iterable[str] | None


def base_urls(urls: Urls, variable: str = URL, default: str = DEFAULT_URL) -> list[str]:
    """Base URLs from one text with commas or blanks between, from several, or from an environment variable.

    >>> base_urls("http://127.0.0.1:8100, http://127.0.0.1:8101")
    ['http://127.0.0.1:8100', 'http://127.0.0.1:8101']
    """
    if urls is None:
        urls = os.environ.get(variable) or default
    return urls.replace(",", " ").split() if isinstance(urls, str) else list(urls)


def new_exchange(urls: list[str], retries: Retries, timeout: float) -> Exchange:
    """The state of a client, beside its connections. Raises ValueError for what is no base URL."""
    places = Places(urls)
    for url in urls:
        try:
            sound = bool(httpx.URL(url).host)
        except httpx.InvalidURL:
            sound = False
        if not sound:
            raise ValueError(f"{shown(url)!r} is no base URL")
    return Exchange(places, retries, timeout, REAL)


def settings(headers: Mapping[str, str] | None, api_key: str | None, urls: list[str]) -> dict[str, Any]:
    """Arguments of `httpx.Client` and `httpx.AsyncClient`. Raises ValueError for a key that is none, or not the only
    thing that says who is there.
    """
    sent = _HEADERS | dict(header(name, value) for name, value in (headers or {}).items())
    has_other = any(name.lower() == "authorization" for name in sent) or any(
        "@" in urlsplit(each).netloc for each in urls
    )
    if has_other and api_key:
        raise ValueError("an API key goes with neither an Authorization header nor a name or password in a base URL")
    key = "" if has_other else find_api_key(api_key)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=KEEP_ALIVE)
    sent |= {"Authorization": f"Bearer {key}"} if key else {}
    # A redirect could lead to another host, and would take the key there.
    fields = [(name.encode("ascii"), encoded(value)) for name, value in sent.items()]
    return {"headers": fields, "limits": limits, "follow_redirects": False}


def new_request(
    http: httpx.Client | httpx.AsyncClient, send: Send, note_opened: Callable[[str, Mapping[str, Any]], object]
) -> httpx.Request:
    """What httpx is to send; `note_opened` is told of connections.

    The target goes out as it is: httpx would take dots out of it. Every try has an id of its own: see `is_of_another`.
    """
    request = send.request
    base = httpx.URL(send.base)
    headers = [(name.encode("ascii"), encoded(value)) for name, value in request.headers]
    if REQUEST_ID not in http.headers:
        headers.append((REQUEST_ID.encode(), OWN_ID + secrets.token_hex(8).encode()))
    return http.build_request(
        request.method,
        base,
        headers=headers,
        content=request.body or None,
        timeout=httpx.Timeout(send.timeout, connect=min(send.timeout, CONNECT_TIMEOUT)),
        extensions={"target": base.raw_path.rstrip(b"/") + request.target.encode("ascii"), "trace": note_opened},
    )


def is_of_another(request: httpx.Request, response: httpx.Response) -> bool:
    """Whether an answer has the id that a client gave to another request.

    httpcore keeps what comes behind an answer and takes it for the answer to the next request on the connection: one
    that is doubled on the way would shift all that follow. Ids of proxies and of other programs say nothing.
    """
    given = _request_id(response.headers)
    return given.startswith(OWN_ID) and given != _request_id(request.headers)


def _request_id(headers: httpx.Headers) -> bytes:
    """As it stands there: httpx looks for the encoding of all headers before it gives one."""
    return next((value for name, value in headers.raw if name.lower() == b"x-request-id"), b"")


def mixed_up(send: Send) -> Lost:
    """In the place of such an answer, whose connection goes: this request may have been executed."""
    return Lost(True, f"{shown(send.base)}: the answer of another request came")


def answered(response: httpx.Response, body: bytes) -> Response:
    """An answer whose body was read as it came: its Content-Encoding is the message's own."""
    return Response(response.status_code, lowered(response.headers.raw), body)


def lost(send: Send, error: httpx.TransportError) -> Lost:
    """No answer."""
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Lost(not isinstance(error, _NOT_SENT), f"{shown(send.base)}: {what}")
