"""What a stream was opened with, which stays the same as long as it lasts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from common.errors import FanmailError
from common.protocol import ops
from httpfront.formats.sse import ServerSentEvents
from httpfront.formats.stream_lines import StreamLines


@dataclass(frozen=True, slots=True)
class StreamOrigin:
    """The request of one stream, and what its broker answered."""

    mailbox: tuple[bytes, bytes]
    """Topic and user."""
    form: ServerSentEvents | StreamLines
    confirm_s: float | None
    """Seconds after its delivery when a message is done; None: the client confirms."""
    opened: ops.StreamOpened
    place: int
    """Sequence number of the first message to send."""
    request_id: str
    """Id of the HTTP request, for the logs of brokers."""
    refusal: Callable[[], FanmailError | None]
    """Returns why the key may not read this any more; None while it may."""

    def gap(self, place: int, position: int) -> bytes:
        """Return the event for messages from `place` on that were missed before `position`."""
        epoch = self.opened.epoch
        return self.form.event("gap", {"from": f"{epoch}-{place}", "position": f"{epoch}-{position}"})
