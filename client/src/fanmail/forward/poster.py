"""The HTTP client of a target."""

from __future__ import annotations

import asyncio
import ssl
from typing import Self
from urllib.request import getproxies

import httpx

from fanmail.forward.answer import Answer, Outcome, answer_of
from fanmail.forward.delivery import Delivery, signed_headers
from fanmail.forward.target import Target
from fanmail.forward.timing import Timing
from fanmail.version import VERSION

KEEP_ALIVE_S = 4.0
"""Below the 5 s after which Node.js closes an idle connection, which could meet the next request."""
MAX_ANSWER_BYTES = 65_536
"""A longer body is not read on: the connection is closed instead of reused."""
_HEADERS = {"User-Agent": f"fanmail-forward/{VERSION}", "Accept": "*/*", "Accept-Encoding": "identity"}


class Poster:
    """Sends deliveries to one target, over connections of its own: a pool for all would be searched by each request."""

    def __init__(self, target: Target, timing: Timing, context: ssl.SSLContext) -> None:
        self._target = target
        self._timing = timing
        limits = httpx.Limits(max_connections=target.concurrency, keepalive_expiry=KEEP_ALIVE_S)
        # A redirect is not followed: it could lead anywhere, and it would change POST to GET.
        self._http = httpx.AsyncClient(
            headers=_HEADERS,
            limits=limits,
            timeout=None,
            follow_redirects=False,
            verify=context,
            trust_env=bool(getproxies()),  # to look at the environment takes longer than the rest
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def post(self, delivery: Delivery) -> Answer:
        """Send a delivery once and return what came of it, at the latest after the time limit of the target."""
        try:
            async with asyncio.timeout(self._target.timeout):
                return await self._post(delivery)
        except TimeoutError:
            return Answer(Outcome.TIMEOUT, reason=f"no answer within {self._target.timeout:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return Answer(Outcome.UNREACHABLE, reason=f"{type(error).__name__}: {error}"[:200])

    async def _post(self, delivery: Delivery) -> Answer:
        headers = signed_headers(delivery, self._target.secrets, int(self._timing.wall()))
        request = self._http.build_request("POST", self._target.url, headers=headers, content=delivery.body)
        response = await self._http.send(request, stream=True)
        try:
            size = 0
            async for part in response.aiter_raw():  # an answer that is cut off is none
                size += len(part)
                if size > MAX_ANSWER_BYTES:
                    break
            return answer_of(response.status_code, response.headers, self._timing.wall())
        finally:
            await response.aclose()
