"""What the API key of a session may do, looked at again each time: keys and rules change while it lasts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from common.errors import FanmailError
from common.keys.api_keys import ApiKey
from httpfront.environ import API_KEY, KEY_IN_FORCE


class Access:
    """The key that a client has proved at the handshake."""

    def __init__(self, key: ApiKey, in_force: Callable[[ApiKey], ApiKey | None]) -> None:
        self._key = key
        self._in_force = in_force

    def check(self, right: str = "", topic: str = "", user: str = "") -> None:
        """Raise `unauthorized` where the key is not in force any more, `forbidden` where it has not this right."""
        now = self._in_force(self._key)
        if now is None:
            raise FanmailError("unauthorized", "the API key is not valid any more")
        if right and not now.may(right, topic, user):
            raise FanmailError("forbidden", f"no rule of the key {now.id} allows this, which needs the right {right}")


def access_of(env: Mapping[str, Any]) -> Access | None:
    """Return the access of a request's key, None where no key is needed."""
    key: ApiKey | None = env.get(API_KEY)
    return None if key is None else Access(key, env[KEY_IN_FORCE])
