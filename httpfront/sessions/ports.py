"""What the parts of a session need of it."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from common.errors import FanmailError
from common.protocol.ops import Op, Receipt
from httpfront.gateway.gateway import Gateway
from httpfront.outlet import SessionOutlet
from httpfront.sessions.answers import Mailbox
from httpfront.sessions.table import SessionLimits, SessionTable


class Held(Protocol):
    """A read that waits for its session."""

    def proceed(self) -> None:
        """Go on."""


class Owner(Protocol):
    """The session."""

    table: SessionTable
    gateway: Gateway
    limits: SessionLimits
    outlet: SessionOutlet
    request_id: str
    """Id of the handshake, for the logs of brokers."""

    over: bool
    """Whether the session has ended."""

    def send(self, text: bytes) -> None:
        """Send a message to the client."""

    def send_all(self, texts: list[bytes]) -> None:
        """Send messages to the client in order."""

    def began(self, size: int) -> None:
        """Count an operation whose message had `size` bytes as under way."""

    def done(self, size: int, count: int = 1) -> None:
        """Count it, or `count` of them with `size` bytes together, as answered."""

    def may_fetch(self) -> bool:
        """Return whether one more read may ask its broker for messages now."""

    def fetch_began(self) -> None:
        """Count a read that asks its broker for messages."""

    def fetch_ended(self) -> None:
        """Count it as answered."""

    def fetch_over(self) -> None:
        """Let another read have its turn."""

    def hold(self, reading: Held) -> None:
        """Call `proceed` of a read once `may_fetch` is true."""

    def forward(self, mailbox: Mailbox, op: Op, args: Struct) -> None:
        """Ask a broker for something whose answer nobody waits for."""

    def return_leases(self, mailbox: Mailbox, receipts: list[Receipt]) -> None:
        """Give leased messages back."""

    def allowed(self, mailbox: Mailbox) -> bool:
        """Return whether the key may read this; else the session has ended."""

    def wake_at(self, when: float) -> None:
        """Call `timed` of every read at this time, monotonic seconds, or before."""

    def failed(self, error: FanmailError) -> None:
        """End after an unexpected error."""
