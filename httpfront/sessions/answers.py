"""What is sent to the client of a session, as JSON (`docs/sessions.md`). No I/O here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from common.errors import FanmailError
from common.protocol import ops
from httpfront.formats.batch import bodies
from httpfront.formats.metadata import rfc3339
from httpfront.formats.ndjson import LARGE_BODY, body_member, message_members

_encode = msgspec.json.Encoder().encode


class Mailbox(NamedTuple):
    """Topic and user as names, and as the client wrote them."""

    topic: bytes
    user: bytes
    topic_text: str
    user_text: str

    @property
    def names(self) -> tuple[bytes, bytes]:
        """Return topic and user."""
        return self.topic, self.user

    def members(self) -> dict[str, Any]:
        """Return the members that name it."""
        return {"topic": self.topic_text, "user": self.user_text}


def ok(ref: object, members: dict[str, Any] | None = None) -> bytes:
    """Return the answer to an operation that succeeded."""
    return _encode({"op": "ok", "ref": ref, **(members or {})})


def published(refs: Sequence[Any], result: ops.Published) -> list[bytes]:
    """Return the answers to publishes that were stored one after the other; `result` is that of the first."""
    if not result.due_ms and not result.replayed and result.subscribers:  # what nearly all are
        middle = f',"subscribers":{result.subscribers},"id":"{result.epoch}-'
        return [
            f'{{"op":"ok","ref":{ref if type(ref) is int else _encode(ref).decode()}{middle}{seq}"}}'.encode()
            for seq, ref in enumerate(refs, result.seq)
            if ref is not None
        ]
    members: dict[str, Any] = {}
    if result.due_ms:
        members["due"] = rfc3339(result.due_ms)
    else:
        members["subscribers"] = result.subscribers
        if result.subscribers:
            members["id"] = f"{result.epoch}-{result.seq}"
    if result.replayed:
        members["replayed"] = True
    return [_encode({"op": "ok", "ref": ref} | members) for ref in refs if ref is not None]


def error_members(error: FanmailError) -> dict[str, Any]:
    """Return what is said of an error."""
    members: dict[str, Any] = {"code": error.code, "status": error.spec.status, "detail": error.detail}
    if error.spec.retry_after is not None:
        members["retry_after"] = error.spec.retry_after
    return error.fields | members


def failed(ref: object, about: dict[str, Any], error: FanmailError) -> bytes:
    """Return the answer to an operation that failed; `about` names its topic and user, as far as they are known."""
    start: dict[str, Any] = {"op": "error"}
    if ref is not None:
        start["ref"] = ref
    return _encode(start | about | error_members(error))


def ended(mailbox: Mailbox, error: FanmailError) -> bytes:
    """Return the end of a read."""
    return _encode({"op": "end"} | mailbox.members() | error_members(error))


def gap(mailbox: Mailbox, epoch: str, place: int, position: int) -> bytes:
    """Return what says that messages from `place` on were missed before `position`."""
    members = {"from": f"{epoch}-{place}", "position": f"{epoch}-{position}"}
    return _encode({"op": "gap"} | mailbox.members() | members)


class MessageForm:
    """Renders the messages of one mailbox."""

    __slots__ = ("_leased", "_start")

    def __init__(self, mailbox: Mailbox, *, leased: bool) -> None:
        self._start = _encode({"op": "message"} | mailbox.members())[:-1] + b',"id":"'
        self._leased = leased

    def of_run(self, epoch: str, run: ops.Run) -> list[tuple[int, int, bytes]]:
        """Return sequence number, bytes of the body, and JSON of each message."""
        start = b"%b%b-" % (self._start, epoch.encode())
        end = b'","time":"%b",%b' % (rfc3339(run.time).encode(), _about(run.attempt, run.headers))
        rendered = []
        for seq, body in enumerate(bodies(run.body), run.first):
            number = b"%d" % seq
            if self._leased:
                number = b'%b","receipt":"%b-%b.%d' % (number, epoch.encode(), number, run.attempt)
            rendered.append((seq, len(body), b"%b%b%b,%b}" % (start, number, end, _content(body))))
        return rendered


def _content(body: bytes) -> bytes:
    """Return the member that a line of NDJSON has for a body."""
    if len(body) <= LARGE_BODY:
        try:
            return b'"text":' + _encode(body.decode())  # nearly all; a dictionary takes twice the time
        except UnicodeDecodeError:
            pass
    return _encode(body_member(body))[1:-1]


@lru_cache(maxsize=256)
def _about(attempt: int, headers: bytes) -> bytes:
    """Return the members about a message but for its time."""
    members = message_members(0, attempt, headers)
    del members["time"]
    return _encode(members)[1:-1]
