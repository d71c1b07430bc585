"""What a client of a session sends: the operations as they are in JSON (`docs/session-protocol.md`). No I/O here.

The bounds in `_about` are for `/asyncapi.json` only: `values.py` checks them, whose errors name them.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from httpfront.formats.limits import MAX_DELIVERIES
from httpfront.formats.params import CURSOR, YEAR_S
from httpfront.formats.receipts import MAX_LEASE_S, RECEIPT

DEFAULT_LEASE_S = 30
WINDOW, MAX_WINDOW = 100, 1000
AFTER, LEASE, TAKE = MODES = ("after", "lease", "take")
MAX_RECEIPTS = 1000
"""Receipts of one `ack`."""
MAX_REF = 64
"""Characters of a `ref`."""
Ref = Annotated[str, Meta(max_length=MAX_REF)] | Annotated[int, Meta(ge=-(2**53), le=2**53)] | None


def _about(text: str, **schema: Any) -> Meta:
    """Return the description of a member, and what JSON Schema says of it."""
    return Meta(description=text, extra_json_schema=schema or None)


def _seconds(text: str, least: float, most: float) -> Meta:
    return _about(f"Seconds: {text}.", minimum=least, maximum=most)


_RECEIPTS = _about(
    "These leased messages are done.", minItems=1, maxItems=MAX_RECEIPTS, items={"pattern": f"^{RECEIPT}$"}
)


class Operation(Struct, tag_field="op", tag=str.lower, forbid_unknown_fields=True, kw_only=True, gc=False):
    """One message of a client; `None` is the same as an absent member."""

    ref: Annotated[Ref, _about("Comes back in the answer; without it a success has no answer.")] = None


class Publish(Operation):
    """Publish a message; it has one of `text` and `base64`."""

    topic: str
    text: Annotated[str | None, _about("The body.")] = None
    base64: Annotated[str | None, _about("The body, in base64 with padding.", contentEncoding="base64")] = None
    type: Annotated[str | None, _about("Its Content-Type.")] = None
    meta: Annotated[dict[str, str] | None, _about("Other kept headers, by name in lower case.")] = None
    ttl: Annotated[float | None, _seconds("it is not delivered later", 0, YEAR_S)] = None
    delay: Annotated[float | None, _seconds("it is published then", 0, YEAR_S)] = None
    key: Annotated[str | None, _about("Idempotency key.", pattern="^[!-~]{1,255}$")] = None


class OnMailbox(Operation):
    """What is about one mailbox."""

    topic: str
    user: str


class Subscribe(OnMailbox):
    """Subscribe, and set the named settings."""

    expires_after: Annotated[float | None, _seconds("without use, the subscription ends; 0: never", 0, YEAR_S)] = None
    max_deliveries: Annotated[int | None, _about("0: unlimited.", minimum=0, maximum=MAX_DELIVERIES)] = None


class Unsubscribe(OnMailbox):
    """Unsubscribe; a read of this mailbox gets `end`."""


class Read(OnMailbox):
    """Send the messages of this mailbox as they come."""

    mode: Annotated[str | None, _about("How messages are confirmed.", enum=[*MODES, None], default=AFTER)] = None
    window: Annotated[int | None, _about("Unconfirmed messages.", minimum=1, maximum=MAX_WINDOW, default=WINDOW)] = None
    after: Annotated[str | None, _about("With mode `after`: confirm up to here.", pattern=f"^(0|{CURSOR})$")] = None
    lease: Annotated[float | None, _seconds(f"with mode `lease`, {DEFAULT_LEASE_S} by default", 1, MAX_LEASE_S)] = None


class Ack(OnMailbox):
    """Confirm; it has one of `id`, `receipt` and `receipts`."""

    id: Annotated[str | None, _about("Everything up to it is done.", pattern=f"^(0|{CURSOR})$")] = None
    receipt: Annotated[str | None, _about("This leased message is done.", pattern=f"^{RECEIPT}$")] = None
    receipts: Annotated[list[str] | None, _RECEIPTS] = None


class Nack(OnMailbox):
    """Give a leased message back."""

    receipt: Annotated[str, _about("Of the message.", pattern=f"^{RECEIPT}$")]
    delay: Annotated[float | None, _seconds("until it is delivered again", 0, MAX_LEASE_S)] = None


class Extend(OnMailbox):
    """Extend the lease of a message."""

    receipt: Annotated[str, _about("Of the message.", pattern=f"^{RECEIPT}$")]
    lease: Annotated[float, _seconds("from now", 1, MAX_LEASE_S)]


class Stop(OnMailbox):
    """End the read of this mailbox."""


AnyOperation = Subscribe | Unsubscribe | Publish | Read | Ack | Nack | Extend | Stop
OPERATIONS = (Subscribe, Unsubscribe, Publish, Read, Ack, Nack, Extend, Stop)
decode = msgspec.json.Decoder(AnyOperation).decode
"""Returns the operation in a message. Raises what `refusals.malformed` understands."""
