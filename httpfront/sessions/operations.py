"""What a client of a session sends: the operations as they are in JSON (`docs/sessions.md`). No I/O here."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

MAX_REF = 64
"""Characters of a `ref`."""
Ref = Annotated[str, Meta(max_length=MAX_REF)] | Annotated[int, Meta(ge=-(2**53), le=2**53)] | None


class Operation(Struct, tag_field="op", tag=str.lower, forbid_unknown_fields=True, kw_only=True, gc=False):
    """One message of a client; `None` is the same as an absent member."""

    ref: Ref = None


class Publish(Operation):
    topic: str
    text: str | None = None
    base64: str | None = None
    type: str | None = None
    meta: dict[str, str] | None = None
    ttl: float | None = None
    delay: float | None = None
    key: str | None = None


class OnMailbox(Operation):
    """What is about one mailbox."""

    topic: str
    user: str


class Subscribe(OnMailbox):
    expires_after: float | None = None
    max_deliveries: int | None = None


class Unsubscribe(OnMailbox):
    pass


class Read(OnMailbox):
    mode: str | None = None
    window: int | None = None
    after: str | None = None
    lease: float | None = None


class Ack(OnMailbox):
    id: str | None = None
    receipt: str | None = None


class Nack(OnMailbox):
    receipt: str
    delay: float | None = None


class Extend(OnMailbox):
    receipt: str
    lease: float


class Stop(OnMailbox):
    pass


AnyOperation = Subscribe | Unsubscribe | Publish | Read | Ack | Nack | Extend | Stop
decode = msgspec.json.Decoder(AnyOperation).decode
"""Returns the operation in a message. Raises what `refusals.malformed` understands."""
