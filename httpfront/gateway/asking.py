"""Operations without a topic: asked of several brokers at the same time."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from msgspec import Struct

from common.errors import FanmailError
from common.protocol import wire
from common.protocol.ops import Op
from common.protocol.wire import WireError
from httpfront.gateway.broker_socket import BrokerSocket
from httpfront.gateway.broker_status import unreachable
from httpfront.gateway.call import Answer, Call
from httpfront.gateway.gather import Gather
from httpfront.hub import Hub


class Post(Protocol):
    """Begins a call at a certain process."""

    def __call__(
        self, socket: BrokerSocket, op: Op, topic: bytes, user: bytes, args: Struct, until: float, body: bytes | None
    ) -> Call: ...


class Asking:
    """Belongs to the hub's thread."""

    def __init__(self, hub: Hub, post: Post) -> None:
        self._hub = hub
        self._post = post

    def ask(
        self, sockets: Mapping[str, BrokerSocket], answering: Collection[str], op: Op, args: Struct, timeout: float
    ) -> dict[str, Any]:
        """Ask those of the processes that are `answering`; return by name the result or the `FanmailError`.

        Parks the request's greenlet for `timeout` seconds and a little more.
        """
        gather = Gather()
        until = time.monotonic() + timeout
        for name, socket in sockets.items():
            if name in answering:
                self._post(socket, op, b"", b"", args, until, None).waiting = gather.place(name)
            else:
                gather.results[name] = unreachable(socket.status)
        if gather.wanted:
            self._hub.park()
        return {name: _opened(op, each) for name, each in gather.results.items()}


def _opened(op: Op, outcome: Answer | FanmailError) -> Any:
    if isinstance(outcome, FanmailError) or outcome.error is not None:
        return outcome if isinstance(outcome, FanmailError) else outcome.error
    try:
        return wire.unpack_result(op, outcome.result)
    except WireError as error:
        return FanmailError("internal", str(error))
