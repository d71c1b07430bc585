"""What is logged about requests: codes, request ids and durations; never names or bodies, at any level."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable

from common.protocol import wire
from common.protocol.ops import Op
from common.protocol.wire import Request, WireError

log = logging.getLogger("fanmail.broker")

SLOW_US = 250_000
"""Microseconds. A message, or a turn of the loop, that takes longer is logged: every other request waited for it."""
MOST_IDS = 10
"""Request ids per line."""

_NAMES = {int(op): op.name.lower() for op in Op}


class RequestLog:
    """The request log of one broker. Callers read times with `read`."""

    def __init__(self, read: Callable[[], int] = lambda: 0) -> None:
        """Create the log; `read` returns nanoseconds of a clock that is used for durations only."""
        self.read = read
        self.every = log.isEnabledFor(logging.DEBUG)
        """Every operation is logged, at debug level."""
        self._lost: deque[str] = deque(maxlen=MOST_IDS)
        """Ids of the last requests whose replies were dropped."""
        self._reported = 0

    def operation(self, request: Request, packed_reply: bytes | None, took: int) -> None:
        """Log one request that took `took` nanoseconds.

        A parked request has no reply yet. PING is left out: every front sends one per second.
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
        """Log a message whose requests took more than `SLOW_US` microseconds. It is decoded again for this."""
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
        """Log a turn that took more than `SLOW_US` microseconds, `committing` of them in commits."""
        about = {"messages": messages, "duration_ms": took // 1000, "commit_ms": committing // 1000}
        log.warning("slow turn", extra=about)

    def failed(self, request: Request) -> None:
        """Log an unforeseen exception of an operation; called within its `except`."""
        name = _NAMES.get(request.op, "unknown")
        log.exception("operation failed", extra={"operation": name, "request_id": request.request_id})

    def dropped(self, request_ids: Iterable[str]) -> None:
        """Remember requests whose replies cannot be delivered, for `report_dropped`."""
        self._lost.extend(each for each in request_ids if each)

    def report_dropped(self, total: int) -> None:
        """Log the number of dropped replies where it has grown since the last report."""
        if total > self._reported:
            self._reported = total
            ids, self._lost = list(self._lost), deque(maxlen=MOST_IDS)
            about = {"total": total, "request_ids": ids}
            log.warning("replies dropped: a front is gone or does not read", extra=about)
