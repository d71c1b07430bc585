"""Authentication and authorization. A key comes as `Authorization: Bearer fm_<id>_<secret>` (RFC 6750).

The client is identified before the path is looked at, so that an anonymous client learns nothing of the paths. What the
key may do is checked when the call and its names are known, before anything else of the request is read.
"""

from __future__ import annotations

import hmac
import logging
import re
import secrets
from collections.abc import Callable
from typing import Any

import falcon

from common.clock import Clock, Dates
from common.errors import FanmailError, StartError
from common.keys.api_keys import TOKEN, ApiKey, digest, read_keys
from httpfront.budget import Account
from httpfront.environ import ACCOUNT, ANONYMOUS, API_KEY, KEY_ID, KEY_IN_FORCE, NO_ROUTE, ROUTE
from httpfront.formats.params import names_parameter
from httpfront.formats.paths import OPTIONS, SERVER, raw_path
from httpfront.routes import ANY_KEY, BY_PARAMETER, OPEN, Routes

NO_KEY, OTHER_SCHEME, MALFORMED, UNKNOWN, WRONG, EXPIRED = REASONS = (
    "no-key",
    "other-scheme",
    "malformed",
    "unknown-key",
    "wrong-secret",
    "expired",
)
"""Why a client is anonymous. For the operator: the client is only told whether a key was sent."""
BEARER_SUBPROTOCOL = "bearer."
_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr]( +(.*))?", re.DOTALL).fullmatch
_CHALLENGE = 'Bearer realm="fanmail"'

log = logging.getLogger("fanmail.front")


class UnauthenticatedError(Exception):
    """No key in force was given; `reason` is one of `REASONS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class KeyRing:
    """The keys in force: those of the file when it was last read and could be used."""

    def __init__(self, path: str, clock: Clock) -> None:
        """Read the file. Raises `StartError` where it cannot be used."""
        self._path = path
        self._dates = Dates(clock)
        self._keys = read_keys(path)
        self._dummy_digest = secrets.token_bytes(32)
        """The digest that a token of an unknown id is compared with, so that it takes as long."""

    def read_clock(self) -> None:
        """Read the clock every second: where the system's clock was set, that counts once it has held."""
        self._dates.now()

    def reload(self) -> None:
        """Read the file again, all at once. Where it cannot be used, the keys stay and the log says so."""
        try:
            keys = read_keys(self._path)
        except StartError as error:
            log.error("the API keys stay as they were", extra={"reason": str(error)})
            return
        gone, new = sorted(self._keys.keys() - keys.keys()), sorted(keys.keys() - self._keys.keys())
        self._keys = keys
        log.info("API keys read again", extra={"keys": len(keys), "gone": gone, "new": new})

    def find(self, authorization: str | None) -> ApiKey:
        """Return the key that an Authorization header names and proves. Raises `UnauthenticatedError`."""
        token = find_token(authorization)
        key = self._keys.get(token[1])
        same = hmac.compare_digest(digest(token[0]), key.digest if key else self._dummy_digest)
        if key is None:
            raise UnauthenticatedError(UNKNOWN)
        if not same:
            raise UnauthenticatedError(WRONG)
        if self._has_expired(key):
            raise UnauthenticatedError(EXPIRED)
        return key

    def in_force(self, key: ApiKey) -> ApiKey | None:
        """Return the key as it is now; None where it was removed, has another secret, or has expired."""
        now = self._keys.get(key.id)
        return now if now is not None and now.digest == key.digest and not self._has_expired(now) else None

    def _has_expired(self, key: ApiKey) -> bool:
        return key.expires is not None and self._dates.now() >= key.expires


def find_token(authorization: str | None) -> re.Match[str]:
    """Return the token in an Authorization header as `TOKEN` matches it. Raises `UnauthenticatedError`."""
    if authorization is None:
        raise UnauthenticatedError(NO_KEY)
    bearer = _BEARER(authorization)
    if not bearer:
        raise UnauthenticatedError(OTHER_SCHEME)
    token = TOKEN(bearer[2] or "")
    if not token:
        raise UnauthenticatedError(MALFORMED)
    return token


def _of_subprotocols(listed: str) -> str | None:
    """Return the key among the subprotocols of a WebSocket handshake: browsers set no Authorization there."""
    for each in listed.split(","):
        name = each.strip(" \t")
        if name.startswith(BEARER_SUBPROTOCOL):
            return f"Bearer {name.removeprefix(BEARER_SUBPROTOCOL)}"
    return None


class Auth:
    """Falcon middleware. Sets `KEY_ID` and `API_KEY`, or `ANONYMOUS` at a path that needs no key (`environ.py`)."""

    def __init__(self, ring: KeyRing, routes: Routes, refused: Callable[[str], None]) -> None:
        """Set the `routes` of the port. `refused` is called with the reason of every 401."""
        self._ring = ring
        self._routes = routes
        self._open = {(OPTIONS, SERVER)}
        for path, rights in routes.items():
            for method, right in rights.items():
                if right == OPEN:
                    self._open |= {(method, path), (OPTIONS, path)}
        self._refused = refused

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Identify the client. Raises `unauthorized`."""
        try:
            env = req.env
            given = env.get("HTTP_AUTHORIZATION")
            if given is None and "HTTP_SEC_WEBSOCKET_PROTOCOL" in env:
                given = _of_subprotocols(env["HTTP_SEC_WEBSOCKET_PROTOCOL"])
            key = self._ring.find(given)
        except UnauthenticatedError as error:
            if not self._is_open(req):
                raise self._unauthorized(req, resp, error.reason) from None
            req.env[ANONYMOUS] = True
        else:
            req.env[KEY_ID] = key.id
            account: Account | None = req.env.get(ACCOUNT)
            if account is not None:
                account.belongs_to(key.id)
            req.env[API_KEY] = key
            req.env[KEY_IN_FORCE] = self._ring.in_force

    def process_resource(
        self, req: falcon.Request, resp: falcon.Response, resource: object, params: dict[str, Any]
    ) -> None:
        """Check the right of the call. Raises `forbidden`."""
        if not hasattr(resource, f"on_{req.method.lower()}"):
            return  # 405, or OPTIONS, for which any key will do
        need = self._need(req)
        if need == OPEN:
            return
        key: ApiKey | None = req.env.get(API_KEY)
        if key is None:
            raise self._unauthorized(req, resp, NO_KEY)
        if need == ANY_KEY:
            return
        topic, user = params.get("topic", b"").decode(), params.get("user", b"").decode()
        if need is None or not key.may(need, topic, user):
            resp.set_header("WWW-Authenticate", f'{_CHALLENGE}, error="insufficient_scope"')
            about = "" if need is None else f", which needs the right {need}"
            raise FanmailError("forbidden", f"no rule of the key {key.id} allows this call{about}")

    def _need(self, req: falcon.Request) -> str | None:
        """Return the right that a call needs, None where it is in no table."""
        template = req.uri_template or ""
        parameter, right = BY_PARAMETER.get((template, req.method), ("", ""))
        if parameter and names_parameter(req.query_string, parameter):
            return right
        return self._routes.get(template, {}).get(req.method)

    def _is_open(self, req: falcon.Request) -> bool:
        try:
            return (req.method, raw_path(req.env["REQUEST_URI"])) in self._open
        except FanmailError:
            return False

    def _unauthorized(self, req: falcon.Request, resp: falcon.Response, reason: str) -> FanmailError:
        self._refused(reason)
        req.env[ROUTE] = NO_ROUTE
        given = reason not in (NO_KEY, OTHER_SCHEME)
        resp.set_header("WWW-Authenticate", _CHALLENGE + (', error="invalid_token"' if given else ""))
        if given:
            return FanmailError("unauthorized", "the API key is not valid")
        return FanmailError("unauthorized", "send an API key as Authorization: Bearer KEY")
