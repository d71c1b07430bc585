"""What the log says of requests: codes, request ids and times, never names or bodies, at debug neither."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable

from common.protocol import wire
from common.protocol.ops import Op
from common.protocol.wire import Request, WireError

log = logging.getLogger("fanmail.broker")

SLOW_US = 250_000
"""Microseconds; a message, or a turn of the loop, that takes longer is worth a warning: everybody has waited for it."""
MOST_IDS = 10
"""Request ids in one line."""

_NAMES = {int(op): op.name.lower() for op in Op}


class RequestLog:
    """Of one broker. Times are read by whoever asks, with `read`."""

    def __init__(self, read: Callable[[], int] = lambda: 0) -> None:
        """`read` gives nanoseconds of a clock that only measures."""
        self.read = read
        self.every = log.isEnabledFor(logging.DEBUG)
        """Every operation is told of, at debug."""
        self._lost: deque[str] = deque(maxlen=MOST_IDS)
        """Ids of the requests whose replies were dropped last."""
        self._reported = 0

    def operation(self, request: Request, packed_reply: bytes | None, took: int) -> None:
        """One request was worked on, for so many nanoseconds. There is no reply yet to one that is parked. A PING is
        passed over: every front sends one a second.
        """
        if request.op == Op.PING:
            return
        about = {
            "operation": _NAMES.get(request.op, "unknown"),
            "code": "" if packed_reply is None else wire.code_of(packed_reply),
            "request_id": request.request_id,
            "duration_us": took // 1000,
        }
        log.debug("operation", extra=about)

    def slow_message(self, frames: list[bytes], took: int) -> None:
        """What a message asks for took more than `SLOW_US` microseconds. It is read again for this."""
        try:
            requests = wire.unpack_requests(frames).requests
        except WireError:
            requests = []
        about = {
            "operations": dict(Counter(_NAMES.get(each.op, "unknown") for each in requests)),
            "request_ids": [each.request_id for each in requests if each.request_id][:MOST_IDS],
            "duration_ms": took // 1000,
        }
        log.warning("slow operations", extra=about)

    def slow_turn(self, messages: int, took: int, committing: int) -> None:
        """A turn of the loop took more than `SLOW_US` microseconds, so many of them in commits."""
        about = {"messages": messages, "duration_ms": took // 1000, "commit_ms": committing // 1000}
        log.warning("slow turn", extra=about)

    def failed(self, request: Request) -> None:
        """An operation has raised what nobody foresaw; within its `except`."""
        name = _NAMES.get(request.op, "unknown")
        log.exception("operation failed", extra={"operation": name, "request_id": request.request_id})

    def dropped(self, request_ids: Iterable[str]) -> None:
        """Replies to these requests cannot be delivered; `report_dropped` says so."""
        self._lost.extend(each for each in request_ids if each)

    def report_dropped(self, total: int) -> None:
        """So many replies were dropped by now; told where these are more than at the last report."""
        if total > self._reported:
            self._reported = total
            ids, self._lost = list(self._lost), deque(maxlen=MOST_IDS)
            about = {"total": total, "request_ids": ids}
            log.warning("replies dropped: a front is gone or does not read", extra=about)
