"""What is sent to the client of a session, as JSON (`docs/sessions.md`). No I/O here."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import repeat
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


def published(ref: object, result: ops.Published) -> bytes:
    """Return the answer to a publish."""
    members: dict[str, Any] = {"op": "ok", "ref": ref}
    if result.due_ms:
        members["due"] = rfc3339(result.due_ms)
    else:
        members["subscribers"] = result.subscribers
        if result.subscribers:
            members["id"] = f"{result.epoch}-{result.seq}"
    if result.replayed:
        members["replayed"] = True
    return _encode(members)


def stored(refs: Sequence[Any], subscribers: int, epoch: str, first: int) -> list[bytes]:
    """Return the answers to publishes that were stored one after the other; those without a `ref` have none."""
    if not subscribers:
        return [_encode({"op": "ok", "ref": ref, "subscribers": 0}) for ref in refs if ref is not None]
    middle, end = f',"subscribers":{subscribers},"id":"{epoch}-', '"}'
    return [
        f'{{"op":"ok","ref":{ref if type(ref) is int else _encode(ref).decode()}{middle}{seq}{end}'.encode()
        for seq, ref in enumerate(refs, first)
        if ref is not None
    ]


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


class Rendered(NamedTuple):
    """Messages in order; each list has one entry per message."""

    seqs: list[int]
    sizes: list[int]
    """Bytes of the bodies."""
    texts: list[bytes]
    """JSON."""


class MessageForm:
    """Renders the messages of one mailbox."""

    __slots__ = ("_end", "_end_of", "_leased", "_start")

    def __init__(self, mailbox: Mailbox, *, leased: bool) -> None:
        self._start = _encode({"op": "message"} | mailbox.members())[:-1] + b',"id":"'
        self._leased = leased
        self._end_of = (-1, b"", 0)
        self._end = b""
        """What is behind the id in the last run, by its time, headers and attempt: many runs in a row have the same."""

    def of_runs(self, epoch: str, runs: list[ops.Run]) -> Rendered:
        """Render the messages of runs, which may be as many as the messages."""
        seqs: list[int] = []
        ends: list[bytes] = []
        found: list[bytes] = []
        for run in runs:
            end = self._end if self._end_of == (run.time, run.headers, run.attempt) else self._end_for(run)
            if run.count == 1:
                seqs.append(run.first)
                ends.append(end)
                found.append(run.body[4:])
            else:
                seqs += range(run.first, run.first + run.count)
                ends += (end,) * run.count
                found += bodies(run.body)
        sizes = list(map(len, found))
        start, members = b"%b%b-" % (self._start, epoch.encode()), _contents(found, sizes)
        if self._leased:
            receipt = b'","receipt":"%b-' % epoch.encode()
            parts = zip(repeat(start), seqs, repeat(receipt), seqs, ends, members, strict=False)
            return Rendered(seqs, sizes, [b"%b%d%b%d%b,%b}" % each for each in parts])
        texts = [b"%b%d%b,%b}" % each for each in zip(repeat(start), seqs, ends, members, strict=False)]
        return Rendered(seqs, sizes, texts)

    def _end_for(self, run: ops.Run) -> bytes:
        members = b'","time":"%b",%b' % (rfc3339(run.time).encode(), _about(run.attempt, run.headers))
        self._end = b".%d%b" % (run.attempt, members) if self._leased else members
        self._end_of = run.time, run.headers, run.attempt
        return self._end


def _contents(found: list[bytes], sizes: list[int]) -> list[bytes]:
    """Return the members that lines of NDJSON have for bodies."""
    if max(sizes, default=0) <= LARGE_BODY:
        try:
            return [b'"text":' + _encode(body.decode()) for body in found]  # a dictionary takes twice the time
        except UnicodeDecodeError:
            pass
    return [_encode(body_member(body))[1:-1] for body in found]


@lru_cache(maxsize=256)
def _about(attempt: int, headers: bytes) -> bytes:
    """Return the members about a message but for its time."""
    members = message_members(0, attempt, headers)
    del members["time"]
    return _encode(members)[1:-1]
