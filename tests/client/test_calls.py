"""The requests that calls make, and how responses are parsed."""

from __future__ import annotations

import json

import pytest

from fanmail import BadRequest, Message, ServerFault, batches, calls, responses
from fanmail.http_call import Response
from tests.support.table import table


def target(call: object) -> str:
    return call.request.target


def test_names_are_encoded_whole() -> None:
    assert target(calls.subscribe("a/b c", "ü?+%.")) == "/a%2Fb%20c/%C3%BC%3F%2B%25."


@table("name", ["", ".", ".."])
def test_names_that_a_url_cannot_carry_are_refused_before_they_are_sent(name: str) -> None:
    with pytest.raises(BadRequest) as caught:
        calls.subscribe("t", name)
    assert caught.value.code == "bad-name"


def test_numbers_have_no_exponents() -> None:
    assert target(calls.publish("t", ttl=0.00001, delay=1e6)) == "/t?ttl=0.00001&delay=1000000"


def test_what_is_not_given_is_not_sent() -> None:
    assert target(calls.receive("t", "u")) == "/t/u"
    assert target(calls.fetch("t", "u", 5, after="e-1", wait=2.5)) == "/t/u?max=5&after=e-1&wait=2.5"
    assert target(calls.configure("t", "u", max_deliveries=0)) == "/t/u?max_deliveries=0"


def test_headers_that_would_not_travel_are_an_error() -> None:
    kept = {"Meta-A": "1", "ce-id": "2", "traceparent": "3", "Content-Encoding": "gzip"}
    assert dict(calls.publish("t", headers=kept, type="a/b").request.headers) == kept | {"Content-Type": "a/b"}
    with pytest.raises(ValueError, match="Meta-Colour"):
        calls.publish("t", headers={"Colour": "red"})


@table("value", ["qzx\nb", "qzx\rb", "qzx\0b", " qzx", "qzx ", "qzx\ud800", "qzx\x1bb"])
def test_what_no_header_can_carry_is_an_error_at_once_and_not_shown(value: str) -> None:
    for options in ({"headers": {"Meta-A": value}}, {"type": value}, {"key": value}):
        with pytest.raises(ValueError) as caught:
            calls.publish("t", **options)
        assert "qzx" not in str(caught.value)
    with pytest.raises(ValueError, match="not a header name"):
        calls.publish("t", headers={"Meta-A\n": "x"})


def test_names_that_are_no_utf_8_are_no_names() -> None:
    with pytest.raises(BadRequest):
        calls.publish("\udcff", b"")


def test_a_batch_is_made_of_frames() -> None:
    call = calls.publish_many("t", ["a", b"", "ü"])
    assert call.request.body == b"\0\0\0\1a\0\0\0\0\0\0\0\2\xc3\xbc"
    assert list(responses.unpack_frames(call.request.body)) == [b"a", b"", "ü".encode()]


def test_the_coding_of_the_messages_is_not_that_of_their_batch() -> None:
    call = calls.publish_many("t", [b"a"], type="a/b", headers={"content-encoding": "gzip", "Meta-A": "1"})
    sent = {"Content-Type": "a/b", "Msg-Encoding": "gzip", "Meta-A": "1"}
    assert dict(call.request.headers).items() >= sent.items()
    assert "content-encoding" not in dict(call.request.headers)


@table("cut", [1, 4, 5])
def test_frames_that_are_cut_off_are_not_read_as_messages(cut: int) -> None:
    with pytest.raises(ServerFault):
        list(responses.unpack_frames(b"\0\0\0\2ab"[:cut]))


def test_batches_keep_to_both_ceilings() -> None:
    assert [len(each) for each in batches([b"x"] * 5, max_messages=2)] == [2, 2, 1]
    assert [len(each) for each in batches([b"123456"] * 5, most_bytes=20)] == [2, 2, 1]
    assert list(batches([])) == []
    assert [len(each) for each in batches([b"far too large for a batch"], most_bytes=1)] == [1]


def test_several_messages_are_read_from_lines() -> None:
    lines = [
        {"id": "e-1", "time": "2026-01-01T00:00:00.000Z", "attempt": 1, "type": "a/b", "text": "ü"},
        {"id": "e-2", "time": "2026-01-01T00:00:00.000Z", "attempt": 3, "type": "a/b", "base64": "/w==", "meta": {}},
    ]
    body = "".join(json.dumps(each) + "\n" for each in lines).encode()
    found = calls.fetch("t", "u").parse(Response(200, {"msg-pending": "7"}, body))
    assert [(each.id, each.body, each.attempt, each.pending) for each in found] == [
        ("e-1", "ü".encode(), 1, 8),
        ("e-2", b"\xff", 3, 7),
    ]


def test_frames_know_their_ids() -> None:
    headers = {"msg-first-id": "e-5", "msg-pending": "2", "msg-type": "a/b", "msg-encoding": "gzip", "meta-x": "1"}
    found = calls.fetch_frames("t", "u").parse(Response(200, headers, responses.pack_frames([b"a", b"b"])))
    assert found is not None
    assert (str(found.first), found.last, found.bodies, len(found)) == ("e-5", "e-6", (b"a", b"b"), 2)
    assert (found.type, found.headers) == ("a/b", {"content-encoding": "gzip", "meta-x": "1"})


def test_receipts_are_wanted_where_a_lease_is_ended() -> None:
    with pytest.raises(ValueError, match="not leased"):
        calls.acknowledge(Message("e-1", b"", topic="t", user="u"))
    with pytest.raises(ValueError, match="no messages"):
        calls.acknowledge_many([])
    with pytest.raises(ValueError, match="several users"):
        calls.acknowledge_many([Message("e-1", b"", user="u"), Message("e-2", b"", user="v")])


def test_headers_come_as_text_from_headers_and_from_json() -> None:
    line = {"id": "e-1", "time": "2026-01-01T00:00:00.000Z", "attempt": 1, "type": "a/b", "text": ""}
    for value in ("voilà 日本", "\udce9"):
        body = json.dumps(line | {"meta": {"meta-a": value}}).encode()
        found = (
            calls.fetch("t", "u", 2).parse(Response(200, {}, body)),
            calls.dead("t", "u").parse(Response(200, {}, body)),
        )
        assert [dict(each.messages[0].headers) for each in found] == [{"meta-a": value}] * 2
    raw = [(b"Meta-A", "voilà 日本".encode()), (b"Meta-B", b"caf\xe9")]
    assert responses.decode_headers(raw) == {"meta-a": "voilà 日本", "meta-b": "café"}
