"""Header fields: what llhttp refuses by itself, what of a field gets where, and how much is remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from httpfront.environ import KEPT
from httpfront.formats.metadata import kept_field
from httpfront.server import fields as source
from httpfront.server.fields import MAX_NAME, FieldReader


def read(*lines: bytes, fields: FieldReader | None = None) -> dict[str, Any]:
    """Return the environment that these fields make: the same when their names are known as when they are not."""
    reader = fields or FieldReader()
    block = b"".join(line + b"\r\n" for line in (*lines, b""))
    environ = reader.read(block)
    assert isinstance(environ, dict)
    assert environ == reader.read(block)
    return environ


LENIENT = {
    "LENIENT_HEADERS": b"A: \x01\r\n\r\n",
    "LENIENT_CHUNKED_LENGTH": b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "LENIENT_TRANSFER_ENCODING": b"Transfer-Encoding: chunked, gzip\r\n\r\n",
    "LENIENT_OPTIONAL_LF_AFTER_CR": b"A: b\rC: d\r\n\r\n",
    "LENIENT_OPTIONAL_CR_BEFORE_LF": b"A: b\nC: d\r\n\r\n",
    "LENIENT_HEADER_VALUE_RELAXED": b"A: b\x7f\r\n\r\n",
    "a folded line": b"A: b\r\n c\r\n\r\n",
    "a space before the colon": b"A : b\r\n\r\n",
    "two lengths": b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
    "no end": b"A: b\r\n",
}


def test_the_lenient_flags_of_llhttp_are_off() -> None:
    assert [what for what, sent in LENIENT.items() if not isinstance(FieldReader().read(sent), str)] == []
    assert "lenienc" not in Path(source.__file__).read_text()


def test_fields_have_their_keys_of_pep_3333() -> None:
    environ = read(b"Host: h", b"content-type:\t a/b \t", b"CONTENT-LENGTH: 3", b"X-Y.z: \xe4", b"Empty:", b"A_B: c")
    assert environ == {
        "HTTP_HOST": "h",
        "CONTENT_TYPE": "a/b",
        "CONTENT_LENGTH": "3",
        "HTTP_X_Y.Z": "\xe4",
        "HTTP_EMPTY": "",
    }


def test_a_repeated_field_is_joined_where_it_may_be_repeated() -> None:
    assert read(b"A: 1", b"a: 2", b"A:") == {"HTTP_A": "1, 2, "}
    for name in (b"Host", b"Content-Type", b"Authorization"):
        assert "repeated" in FieldReader().read(name + b": a\r\n" + name.lower() + b": a\r\n\r\n")


def test_what_is_kept_with_a_message_is_found_while_the_fields_are_read() -> None:
    fields = FieldReader(kept_field)
    sent = (b"Meta-A: 1", b"Accept: x", b"Content-Type: a/b", b"meta-a: 2", b"CE-Id: 7", b"Meta_B: no")
    assert read(*sent, fields=fields)[KEPT] == (("meta-a", "1, 2"), ("content-type", "a/b"), ("ce-id", "7"))
    assert KEPT not in read(b"Accept: x", fields=fields)


def test_upgrades_are_not_granted() -> None:
    assert read(b"Connection: upgrade", b"Upgrade: websocket")["HTTP_UPGRADE"] == "websocket"


@pytest.mark.parametrize("remembered", [0, 3])
def test_only_so_many_names_are_remembered_and_others_are_read_all_the_same(remembered: int) -> None:
    fields = FieldReader(remembered=remembered)
    for number in range(10):
        assert read(b"X-%d: v" % number, fields=fields) == {f"HTTP_X_{number}": "v"}
    assert len(fields.known) <= remembered
    long = FieldReader()
    assert read(b"n" * (MAX_NAME + 1) + b": v", fields=long) == {"HTTP_" + "N" * (MAX_NAME + 1): "v"}
    assert not long.known


def test_invented_names_do_not_fill_the_memory_for_ever() -> None:
    fields = FieldReader(remembered=3)
    for number in range(10):
        read(b"X-%d: v" % number, fields=fields)
    read(b"Usual: v", fields=fields)
    assert b"Usual" in fields.known
