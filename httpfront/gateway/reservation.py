"""Asking a broker for messages, with room for the answer reserved before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from common.errors import FanmailError
from common.protocol.ops import Op
from httpfront.budget import Account, front_busy
from httpfront.environ import ACCOUNT
from httpfront.gateway.gateway import Gateway

TRIES = 3
"""Requests to the broker, where the next message is a larger one each time."""


def reserve_and_call(
    gateway: Gateway, env: Mapping[str, Any], op: Op, topic: bytes, user: bytes, args: Struct, usual: int = 0
) -> Any:
    """Call an operation that returns messages. Raises as `Gateway.call`, and `front-busy`: nothing was done.

    Room for the answer is reserved first, `usual` bytes for one message. Where there is less room, the broker returns
    fewer messages, and where the first does not fit, its size.
    """
    account: Account | None = env.get(ACCOUNT)
    if account is None or not account.bounded:
        return gateway.call(op, topic, user, args)
    wanted = 0 if op is Op.TAKE else int(args.max_bytes)  # type: ignore[attr-defined]
    room = account.reserve(wanted) if wanted else account.reserve_one(usual)
    for _ in range(TRIES):
        if op is Op.TAKE or op is Op.FETCH:
            args.room = room  # type: ignore[attr-defined]
        if wanted:
            args.max_bytes = min(wanted, room)  # type: ignore[attr-defined]
        try:
            found = gateway.call(op, topic, user, args)
        except FanmailError as error:
            account.release()
            if error.code != "answer-too-large":
                raise
            room = account.reserve_exactly(int(str(error.fields.get("size", 0))))
        else:
            if found is None:
                account.release()
            return found
    account.release()
    raise front_busy("there is no room for the next message")
