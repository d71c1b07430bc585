"""What both clients have in common with httpx: how it is set up, and what its requests, answers and errors mean."""

from __future__ import annotations

import os
import random
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import httpx

from fanmail.answers import lowered
from fanmail.exchange import Exchange
from fanmail.retry import Places, Retries
from fanmail.values import Lost, Response, Send, World

DEFAULT_URL = "http://127.0.0.1:8100"
"""The first front of `bin/quickstart`."""
CONNECT_TIMEOUT = 5.0
KEEP_ALIVE = 30.0
"""Seconds; well below the server's idle timeout, so that a connection is not closed just when it is used."""
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_HEADERS = {"User-Agent": "fanmail-python", "Accept-Encoding": "identity"}

REAL = World(time.monotonic, random.random, lambda: uuid.uuid4().hex)

Urls = str | Iterable[str] | None


def base_urls(urls: Urls) -> list[str]:
    """Base URLs from one text with commas or blanks between, from several, or from `FANMAIL_URL`.

    >>> base_urls("http://127.0.0.1:8100, http://127.0.0.1:8101")
    ['http://127.0.0.1:8100', 'http://127.0.0.1:8101']
    """
    if urls is None:
        urls = os.environ.get("FANMAIL_URL") or DEFAULT_URL
    return urls.replace(",", " ").split() if isinstance(urls, str) else list(urls)


def new_exchange(urls: Urls, retries: Retries, timeout: float) -> Exchange:
    """The state of a client, beside its connections."""
    return Exchange(Places(base_urls(urls)), retries, timeout, REAL)


def settings(headers: Mapping[str, str] | None) -> dict[str, Any]:
    """Arguments of `httpx.Client` and `httpx.AsyncClient`."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=KEEP_ALIVE)
    return {"headers": _HEADERS | dict(headers or {}), "limits": limits}


def request_arguments(send: Send) -> dict[str, Any]:
    """Arguments of httpx's `build_request`. The target goes out as it is: httpx would take dots out of it."""
    request = send.request
    base = httpx.URL(send.base)
    return {
        "method": request.method,
        "url": base,
        "headers": [(name.encode("ascii"), value.encode("latin-1")) for name, value in request.headers],
        "content": request.body or None,
        "timeout": httpx.Timeout(send.timeout, connect=min(send.timeout, CONNECT_TIMEOUT)),
        "extensions": {"target": base.raw_path.rstrip(b"/") + request.target.encode("ascii")},
    }


def answered(response: httpx.Response, body: bytes) -> Response:
    """An answer whose body was read as it came: its Content-Encoding is the message's own."""
    return Response(response.status_code, lowered(response.headers.raw), body)


def lost(send: Send, error: httpx.TransportError) -> Lost:
    """No answer."""
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Lost(not isinstance(error, _NOT_SENT), f"{send.base}: {what}")
