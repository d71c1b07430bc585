"""What travels with a message: which headers are kept, how much, and that they come back byte for byte."""

from __future__ import annotations

from typing import Any

import falcon
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import FanmailError
from common.protocol import ops
from httpfront.formats.metadata import (
    DEFAULT_TYPE,
    MAX_BYTES,
    MAX_FIELDS,
    kept_field,
    pack_headers,
    present_message,
    rfc3339,
    unpack_headers,
)
from tests.support.table import table

ALL_KEPT = {
    "CONTENT_TYPE": "text/plain",
    "HTTP_CONTENT_ENCODING": "gzip",
    "HTTP_CONTENT_LANGUAGE": "de",
    "HTTP_TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "HTTP_TRACESTATE": "a=1",
    "HTTP_META_COLOUR": "red",
    "HTTP_META_A_B_C": "1",
    "HTTP_CE_ID": "42",
    "HTTP_CE_SPECVERSION": "1.0",
}
OTHERS = {
    "CONTENT_LENGTH": "5",
    "REQUEST_METHOD": "POST",
    "HTTP_HOST": "localhost",
    "HTTP_AUTHORIZATION": "Bearer secret",
    "HTTP_COOKIE": "a=1",
    "HTTP_METADATA": "not Meta-*",
    "HTTP_X_META_COLOUR": "not Meta-*",
    "HTTP_CEILING": "not ce-*",
    "META_COLOUR": "not from the request",
    "wsgi.input": object(),
}


def pack(env: dict[str, Any]) -> bytes:
    """Pack the kept fields of an environment."""
    return pack_headers((name, value) for key, value in env.items() if (name := kept_field(key)) is not None)


def refusal(env: dict[str, Any]) -> str:
    with pytest.raises(FanmailError) as caught:
        pack(env)
    assert (caught.value.code, caught.value.spec.status) == ("headers-too-large", 431)
    return caught.value.detail


def test_the_named_headers_are_kept_and_no_others() -> None:
    assert unpack_headers(pack(ALL_KEPT | OTHERS)) == (
        ("ce-id", "42"),
        ("ce-specversion", "1.0"),
        ("content-encoding", "gzip"),
        ("content-language", "de"),
        ("content-type", "text/plain"),
        ("meta-a-b-c", "1"),
        ("meta-colour", "red"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "a=1"),
    )


def test_without_kept_headers_nothing_is_stored_and_the_default_type_comes_back() -> None:
    assert pack(OTHERS) == b""
    assert unpack_headers(b"") == (("content-type", DEFAULT_TYPE),)


def test_the_default_type_stands_beside_other_kept_headers() -> None:
    packed = pack({"HTTP_META_A": "1"})
    assert unpack_headers(packed) == (("content-type", DEFAULT_TYPE), ("meta-a", "1"))


def test_an_empty_value_of_the_clients_own_is_kept() -> None:
    assert dict(unpack_headers(pack({"HTTP_META_A": "", "CONTENT_TYPE": ""}))) == {
        "content-type": DEFAULT_TYPE,
        "meta-a": "",
    }


def test_the_same_headers_are_the_same_bytes_in_any_order() -> None:
    turned = dict(reversed(ALL_KEPT.items()))
    assert list(turned) != list(ALL_KEPT)
    assert pack(turned) == pack(ALL_KEPT)


def test_the_stored_form_stays_as_it_is() -> None:
    """Messages outlive the front that packed them."""
    packed = pack({"CONTENT_TYPE": "a/b", "HTTP_META_X": "\xe9"})
    assert packed.hex() == "9292ac636f6e74656e742d74797065a3612f6292a66d6574612d78a2c3a9"
    assert msgspec.msgpack.decode(packed) == [["content-type", "a/b"], ["meta-x", "\xe9"]]


def test_as_many_fields_as_allowed_are_kept_and_one_more_is_refused() -> None:
    env = {f"HTTP_META_{n}": "x" for n in range(MAX_FIELDS - 1)} | {"CONTENT_TYPE": "a/b"}
    assert len(unpack_headers(pack(env))) == MAX_FIELDS == 32
    assert "33 kept header fields" in refusal(env | {"HTTP_CE_ID": "1"})


def test_as_many_bytes_as_allowed_are_kept_and_one_more_is_refused() -> None:
    room = MAX_BYTES - len("meta-a") - len("meta-b")
    assert MAX_BYTES == 8192
    env = {"HTTP_META_A": "x" * (room - 10), "HTTP_META_B": "y" * 10}
    assert dict(unpack_headers(pack(env)))["meta-b"] == "y" * 10
    detail = refusal(env | {"HTTP_META_B": "y" * 11})
    assert "8193 bytes" in detail
    assert "8192 bytes" in detail
    assert pack(env | {"HTTP_META_B": "\xff" * 10}), "a latin-1 character is one byte"


def test_values_over_the_ceiling_count_whatever_header_they_are_in() -> None:
    for key in ALL_KEPT:
        refusal({key: "x" * MAX_BYTES})


@given(
    st.dictionaries(
        st.from_regex(r"HTTP_(META|CE)_[A-Z0-9_]{1,12}", fullmatch=True),
        st.text(st.characters(max_codepoint=0xFF), max_size=200),
        max_size=MAX_FIELDS,
    )
)
def test_values_come_back_byte_for_byte(env: dict[str, str]) -> None:
    returned = dict(unpack_headers(pack(env)))
    assert returned.pop("content-type") == DEFAULT_TYPE
    assert returned == {key[5:].replace("_", "-").lower(): value for key, value in env.items()}
    assert all(
        value.encode("latin-1") == env[f"HTTP_{key.replace('-', '_').upper()}"].encode("latin-1")
        for key, value in returned.items()
    )


# --- on the way out


def presented(headers: bytes, **changed: Any) -> falcon.Response:
    fields = {"epoch": "0badcafe1", "seq": 9, "time": 1_700_000_000_123, "attempt": 1, "pending": 4} | changed
    response = falcon.Response()
    present_message(ops.Message(**fields, headers=headers, body=b"\x00body"), response)
    return response


def test_a_message_has_its_id_time_attempt_and_what_waits() -> None:
    response = presented(pack(ALL_KEPT))
    assert response.data == b"\x00body"
    assert {key.lower(): value for key, value in response.headers.items()} == {
        "msg-id": "0badcafe1-9",
        "msg-time": "2023-11-14T22:13:20.123Z",
        "msg-attempt": "1",
        "msg-pending": "4",
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox",
    } | dict(unpack_headers(pack(ALL_KEPT)))


def test_a_message_without_headers_is_bytes() -> None:
    assert presented(b"").get_header("content-type") == "application/octet-stream"


def test_a_kept_header_cannot_pose_as_one_of_the_servers() -> None:
    """`Meta-*` and `ce-*` keep their prefix, so nothing published becomes `Msg-Id` or `Set-Cookie`."""
    env = {"HTTP_META_MSG_ID": "1", "HTTP_CE_SET_COOKIE": "a", "HTTP_MSG_ID": "2", "HTTP_SET_COOKIE": "b"}
    names = {name for name, _ in unpack_headers(pack(env))}
    assert names == {"content-type", "meta-msg-id", "ce-set-cookie"}


@table(
    ("milliseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (999, "1970-01-01T00:00:00.999Z"),
        (1_700_000_000_000, "2023-11-14T22:13:20.000Z"),
        (951_782_400_050, "2000-02-29T00:00:00.050Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_times_have_milliseconds_and_are_in_utc(milliseconds: int, text: str) -> None:
    assert rfc3339(milliseconds) == text
