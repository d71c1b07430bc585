"""Checked first for every request, on both ports: the host name it was sent to, and the page that sent it.

A browser sends `GET http://host/topic/user` for every `<img src>` of any page; the page does not see the answer, but
the message is gone. So requests from pages of another origin are refused before anything happens, and so are
prefetches.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import falcon

from common.errors import FanmailError
from httpfront.environ import NO_ROUTE, ROUTE
from httpfront.middleware.cors import Origins
from httpfront.middleware.host_names import HostNames
from httpfront.routes import PROBES

_SAFE = ("GET", "HEAD", "OPTIONS")
_OWN_SITE = ("same-origin", "none")
"""Allowed values of Sec-Fetch-Site; "none": a person typed the address."""
_AHEAD = ("HTTP_SEC_PURPOSE", "HTTP_PURPOSE", "HTTP_X_MOZ")
"""Where browsers announce a prefetch; the last two are those of older ones."""
_EVENTS = "text/event-stream"
_UNWANTED = re.compile(r"\s*q\s*=\s*0(\.0*)?\s*").fullmatch
_SHOWN = 60
"""Characters of the client's text that are repeated in an error."""


class Guards:
    """Falcon middleware, before the one that asks for keys."""

    def __init__(self, hosts: HostNames, origins: Origins) -> None:
        """Set the names that the port accepts, and the foreign origins whose pages may send requests."""
        self._allows = hosts.allows
        self._origins = origins

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Check host, origin and prefetch, and answer a preflight of a listed origin.

        Raises `wrong-host`, `foreign-origin` and `prefetch`, in this order.
        """
        env = req.env
        if self._origins:
            resp.set_headers(self._origins.fields(env))
        target = env["REQUEST_URI"]
        host = env.get("HTTP_HOST") if target[:1] == "/" else _asked_host(target, env.get("HTTP_HOST"))
        if not self._allows(host or "") and not _is_probe(req.method, target):
            raise _refused(
                env,
                "wrong-host",
                f"the host {(host or '')[:_SHOWN]!r} is not allowed: this port accepts localhost, IP addresses and the "
                "names in --allowed-hosts",
            )
        # Spelled out: most requests have none of them, and a loop would cost as much as the rest of the check.
        if (
            "HTTP_ORIGIN" in env
            or "HTTP_SEC_FETCH_SITE" in env
            or "HTTP_SEC_PURPOSE" in env
            or "HTTP_PURPOSE" in env
            or "HTTP_X_MOZ" in env
        ):
            _check_page(env, host, listed=self._origins.allows(env))
            preflight = self._origins.preflight(env)
            if preflight:
                env[ROUTE] = NO_ROUTE
                resp.set_headers(preflight)
                resp.status = falcon.HTTP_204
                resp.complete = True  # no key is asked for: a browser sends none with a preflight


def _check_page(env: dict[str, Any], host: str | None, *, listed: bool) -> None:
    origin = env.get("HTTP_ORIGIN")
    foreign = env.get("HTTP_SEC_FETCH_SITE", "none") not in _OWN_SITE
    if not listed and (foreign or (origin is not None and not same_host(origin, host))):
        raise _refused(
            env,
            "foreign-origin",
            "a web page of another origin sent this request; only pages of this host and port may (people can type the "
            "address, but not follow a link from elsewhere)",
        )
    if any("prefetch" in env.get(name, "").lower() for name in _AHEAD):
        raise _refused(env, "prefetch", "this is a prefetch: it could take a message that is never shown")


def same_host(origin: str, host: str | None) -> bool:
    """Return whether an Origin header names the host and port of a Host header.

    The scheme does not count, since a proxy may have ended TLS: no port, 80 and 443 are the same.
    """
    authority = origin.lower().partition("://")[2]
    return bool(authority) and host is not None and _folded(authority) == _folded(host.lower())


def _folded(authority: str) -> str:
    return authority.removesuffix(":80").removesuffix(":443")


def refuse_streams(env: Mapping[str, Any]) -> None:
    """Refuse a GET whose client reads server-sent events or WebSocket only, where there are none.

    Raises `not-acceptable`.
    """
    accept = env.get("HTTP_ACCEPT")
    if accept is not None and accept != "*/*" and _names_events(accept.lower()):
        raise FanmailError("not-acceptable", f"{_EVENTS} is not available here")
    if wants_websocket(env):
        raise FanmailError("not-acceptable", "WebSocket is not available here")


def wants_websocket(env: Mapping[str, Any]) -> bool:
    """Return whether this is a handshake for WebSocket, complete or not: a message would be lost on its client.

    A proxy may have removed `Upgrade`, but not the key of the handshake.
    """
    return "HTTP_SEC_WEBSOCKET_KEY" in env or ("HTTP_UPGRADE" in env and _names_websocket(env["HTTP_UPGRADE"].lower()))


def _names_events(accept: str) -> bool:
    if _EVENTS not in accept:
        return False
    parts = [part.split(";") for part in accept.split(",")]
    return any(kind.strip() == _EVENTS and not any(map(_UNWANTED, more)) for kind, *more in parts)


def _names_websocket(upgrade: str) -> bool:
    return any(part.partition("/")[0].strip() == "websocket" for part in upgrade.split(","))


def _asked_host(target: str, host: str | None) -> str | None:
    """Return the host of a target in absolute-form, which goes before Host (RFC 9112, section 3.2.2)."""
    _, separator, rest = target.partition("://")
    return re.split(r"[/?]", rest, maxsplit=1)[0].rpartition("@")[2] if separator else host


def _is_probe(method: str, target: str) -> bool:
    """Return whether it is a probe: those answer to any name, since load balancers use addresses."""
    return method in _SAFE and target.partition("?")[0] in PROBES


def _refused(env: dict[str, Any], code: str, detail: str) -> FanmailError:
    env[ROUTE] = NO_ROUTE
    return FanmailError(code, detail)
