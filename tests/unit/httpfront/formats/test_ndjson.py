"""Messages as JSON lines: text where it is text, and always a way to the exact bytes."""

from __future__ import annotations

import base64
import json
from typing import Any

from greenlet import getcurrent
from hypothesis import given
from hypothesis import strategies as st

from httpfront.formats.metadata import pack_headers
from httpfront.formats.ndjson import BYTES_PER_TURN, as_lines, message_members
from httpfront.hub import Hub, yield_turn


def told(**values: bytes) -> dict[str, Any]:
    """What is told of a message with these headers, as a client reads it."""
    fields = [(name.replace("_", "-"), value.decode("latin-1")) for name, value in values.items()]
    (line,) = as_lines([message_members(0, 1, pack_headers(fields))]).splitlines()
    return {name: value for name, value in json.loads(line).items() if name not in ("time", "attempt")}


def test_header_values_in_utf_8_are_text() -> None:
    found = told(content_type="text/plain; title=ä".encode(), meta_a="ä☃𝄞".encode(), ce_b=b"plain")
    assert found == {"type": "text/plain; title=ä", "meta": {"ce-b": "plain", "meta-a": "ä☃𝄞"}}


def test_other_values_are_shown_as_iso_8859_1_and_their_bytes_are_told() -> None:
    found = told(content_type=b"a/b; t=\xe4", meta_a=b"\xe4", meta_b="ä".encode())
    assert found == {
        "type": "a/b; t=ä",
        "meta": {"meta-a": "ä", "meta-b": "ä"},
        "headers_base64": {"content-type": "YS9iOyB0PeQ=", "meta-a": "5A=="},
    }


@given(st.binary(min_size=1, max_size=20), st.binary(max_size=20))
def test_the_bytes_of_every_value_come_back(content_type: bytes, meta: bytes) -> None:
    found = told(content_type=content_type, meta_a=meta)
    exact = {name: base64.b64decode(value) for name, value in found.get("headers_base64", {}).items()}
    assert exact.get("content-type", found["type"].encode()) == content_type
    assert exact.get("meta-a", found["meta"]["meta-a"].encode()) == meta


def test_nothing_is_no_line() -> None:
    assert as_lines([]) == b""


def test_others_have_their_turn_while_long_lines_are_made() -> None:
    """Each byte becomes six of JSON, so there are three turns and a little."""
    hub, order = Hub(), []

    def long() -> None:
        body = "\x01" * (BYTES_PER_TURN // 60)
        for line in as_lines({"text": body} for _ in range(31)).splitlines():
            assert json.loads(line) == {"text": body}
        order.append("long")

    def other() -> None:
        for _ in range(3):
            order.append("other")
            yield_turn()

    hub.spawn(long)
    hub.spawn(other)
    hub.run(lambda: "long" in order)
    hub.close()
    assert order == ["other", "other", "other", "long"]


def test_nobody_gives_way_where_no_hub_runs() -> None:
    before = getcurrent()
    yield_turn()
    assert getcurrent() is before
