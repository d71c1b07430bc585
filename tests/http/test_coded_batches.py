"""Batches and receipts that come coded: what reaches the broker, and what is refused before anything does."""

from __future__ import annotations

import gzip
import json
import zlib
from struct import pack

import pytest

from common.protocol import ops
from common.protocol.ops import Op
from httpfront.formats.batch import bodies
from httpfront.formats.metadata import unpack_headers
from tests.http.playing import LIMITS, Front, problem

MESSAGES = [b"one", b"", b"three"]
BATCHES = {
    "lines": b"one\n\nthree\n",
    "frames": b"".join(pack(">I", len(each)) + each for each in MESSAGES),
}
both = pytest.mark.parametrize("form", BATCHES)


def published(front: Front, form: str, body: bytes, *headers: str) -> ops.Publish:
    front.reset()
    front.answers(Op.PUBLISH, ops.Published(3, "abc1", 7))
    answer = front.ask(f"POST /t?batch={form}", *headers, body=body)
    assert (answer.status, answer.headers["msg-count"]) == (200, "3")
    assert list(bodies(front.args.body)) == MESSAGES
    args: ops.Publish = front.args
    return args


@both
@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip", "deflate"])
def test_a_coded_batch_is_the_same_as_one_that_is_not(front: Front, form: str, coding: str) -> None:
    plain = published(front, form, BATCHES[form])
    body = (zlib if coding == "deflate" else gzip).compress(BATCHES[form])
    assert published(front, form, body, f"Content-Encoding: {coding}") == plain


@both
def test_the_coding_of_each_message_is_said_by_another_header(front: Front, form: str) -> None:
    headers = ["Content-Encoding: gzip", "Msg-Encoding: br", "Content-Type: a/b"]
    args = published(front, form, gzip.compress(BATCHES[form]), *headers)
    assert unpack_headers(args.headers) == (("content-encoding", "br"), ("content-type", "a/b"))


@both
def test_a_repeat_may_be_coded_otherwise(front: Front, form: str) -> None:
    """Time and level of a gzip body are not what was published."""
    coded = [gzip.compress(BATCHES[form], level, mtime=level) for level in (1, 9)]
    sent = [published(front, form, each, "Content-Encoding: gzip", "Idempotency-Key: k") for each in coded]
    sent.append(published(front, form, BATCHES[form], "Idempotency-Key: k"))
    assert coded[0] != coded[1]
    assert sent[0] == sent[1] == sent[2]


@pytest.mark.parametrize(
    ("name", "value"),
    [("content-encoding", "gzip"), ("content-encoding", "br, x"), ("content-type", "a/b; charset=utf-16")],
)
def test_one_message_is_stored_as_it_came(front: Front, name: str, value: str) -> None:
    front.answers(Op.PUBLISH, ops.Published(3, "abc1", 7))
    assert front.ask("POST /t", f"{name}: {value}", body=b"\xff\xfea\0").status == 200
    assert front.args.body == b"\xff\xfea\0"
    assert (name, value) in unpack_headers(front.args.headers)


@both
@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "nonsense", "\xff"])
def test_what_is_not_undone_is_415_and_says_what_is(front: Front, form: str, coding: str) -> None:
    answer = front.ask(f"POST /t?batch={form}", f"Content-Encoding: {coding}", body=BATCHES[form])
    assert problem(answer) == (415, "unsupported-coding", None)
    assert answer.headers["accept-encoding"] == "gzip, deflate"
    assert front.calls == []


@both
def test_a_broken_batch_and_one_that_grows_too_large_reach_nobody(front: Front, form: str) -> None:
    whole = gzip.compress(BATCHES[form])
    for body, expected in [
        (whole[:-1], (400, "bad-batch", None)),
        (BATCHES[form], (400, "bad-batch", None)),
        (gzip.compress(bytes(LIMITS.batch + 1)), (413, "body-too-large", None)),
    ]:
        answer = front.ask(f"POST /t?batch={form}", "Content-Encoding: gzip", body=body)
        assert problem(answer) == expected
    assert str(LIMITS.batch) in json.loads(answer.body)["detail"]
    assert front.calls == []


def test_lines_of_wide_characters_are_415_and_frames_of_them_are_not(front: Front) -> None:
    wide = "Content-Type: text/plain; charset=UTF-16"
    answer = front.ask("POST /t?batch=lines", wide, body="a\nb\n".encode("utf-16-le"))
    assert problem(answer) == (415, "unsupported-charset", None)
    assert "accept-encoding" not in answer.headers
    marked = gzip.compress("a\nb\n".encode("utf-16"))
    assert problem(front.ask("POST /t?batch=lines", "Content-Encoding: gzip", body=marked))[0] == 415
    assert front.calls == []
    published(front, "frames", BATCHES["frames"], wide)


def test_receipts_may_be_coded(front: Front) -> None:
    front.answers(Op.FINISH, ops.Finished(["", ""]))
    receipts = b"abc1-5.1\nabc1-6.1\n"
    assert front.ask("POST /t/u/acks", "Content-Encoding: gzip", body=gzip.compress(receipts)).status == 200
    assert front.args == ops.Finish([ops.Receipt("abc1", 5, 1), ops.Receipt("abc1", 6, 1)])
    front.calls.clear()
    assert problem(front.ask("POST /t/u/acks", "Content-Encoding: br", body=receipts))[0] == 415
    assert front.calls == []
