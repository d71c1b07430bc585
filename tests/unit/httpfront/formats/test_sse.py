"""Server-sent events as bytes: nothing of a message forges an event or a field, and a client gets exactly it back."""

from __future__ import annotations

import base64
import json
import re

from hypothesis import example, given
from hypothesis import strategies as st

from httpfront.formats.ndjson import body_member, message_members
from httpfront.formats.sse import ServerSentEvents, text_fields
from httpfront.formats.stream_lines import StreamLines
from tests.support.table import table

PARTS = (b"\n", b"\r", b"\r\n", b"\0", b":", b" ", b"data: x", b"\xff", b"\xe2\x80\xa8", b"a")
LINE_ENDS = st.lists(st.sampled_from(PARTS))
BODIES = st.binary(max_size=50) | LINE_ENDS.map(b"".join)
NAMES = st.text(st.characters(max_codepoint=255), max_size=10)


def parsed(stream: bytes) -> list[tuple[str, str, str]]:
    """Read a stream as the WHATWG says; return event, data and last id of each event."""
    found, event, data, last = [], "", [], ""
    for line in re.split(r"\r\n|\r|\n", stream.decode())[:-1]:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                found.append((event or "message", "\n".join(data), last))
            event, data = "", []
        elif name == "event":
            event = value
        elif name == "data":
            data.append(value)
        elif name == "id" and "\0" not in value:
            last = value
    assert (event, data) == ("", []), "the last event is whole"
    return found


@given(BODIES, st.dictionaries(NAMES, NAMES, max_size=3))
def test_a_message_is_one_event_whatever_is_in_it(body: bytes, meta: dict[str, str]) -> None:
    members = message_members(1_700_000_000_000, 1, b"") | {"meta": meta}
    ((event, data, last),) = parsed(ServerSentEvents().message("0badcafe1-7", members, body))
    assert (event, last) == ("message", "0badcafe1-7")
    shown = json.loads(data)
    assert shown["id"] == "0badcafe1-7"
    assert shown["meta"] == meta
    assert shown.get("text", "").encode() == body or base64.b64decode(shown["base64"]) == body


@given(BODIES)
@example(b"")
@example(b"\n")
@example(b"a\n\n")
@example(b"\ndata: b\n\nevent: x")
@example(b"a\r\nid: 1-1")
@example("\ufeff\u2028".encode())
def test_text_comes_back_unchanged(body: bytes) -> None:
    stream = ServerSentEvents(text=True).message("0badcafe1-7", {}, body)
    ((event, data, last),) = parsed(stream)
    assert last == "0badcafe1-7"
    assert (data.encode() if event == "message" else base64.b64decode(data)) == body


@table(
    ("body", "base64"),
    [(b"a\nb", False), (b"a\rb", True), (b"a\r\nb", True), (b"\0", True), (b"\xff", True), ("\u2028".encode(), False)],
)
def test_what_a_client_would_change_goes_as_base64(body: bytes, base64: bool) -> None:
    assert text_fields(body).startswith(b"event: base64\n") == base64


@given(st.binary(max_size=40), st.integers(0, 3))
@example(b"\n" * 20, 3)
@example(b"\0" * 20, 3)
def test_a_large_body_that_would_grow_goes_as_base64_and_comes_back(body: bytes, large: int) -> None:
    fields, member = text_fields(body, large), body_member(body, large)
    if len(body) > large:
        assert len(fields) <= 4 * len(body) / 3 + 32
        assert len(json.dumps(member, ensure_ascii=False).encode()) <= 7 * len(body) / 3 + 16, "a quote becomes two"
    ((event, data, _),) = parsed(b"id: 1-1\n" + fields)
    assert (data.encode() if event == "message" else base64.b64decode(data)) == body
    assert (member["text"].encode() if "text" in member else base64.b64decode(member["base64"])) == body


@given(BODIES, st.text(max_size=10))
def test_a_line_of_ndjson_is_one_line(body: bytes, detail: str) -> None:
    lines = StreamLines()
    written = lines.message("0badcafe1-7", {}, body) + lines.silence + lines.event("gap", {"detail": detail})
    first, silence, second, end = written.split(b"\n")
    assert (json.loads(first)["id"], silence, json.loads(second)["event"], end) == ("0badcafe1-7", b"", "gap", b"")


def test_events_that_are_no_messages_keep_the_last_id() -> None:
    events = ServerSentEvents()
    stream = events.retry(1500) + events.silence + events.message("a-1", {}, b"x")
    stream += events.event("gap", {"from": "a-2", "position": "a-4"}) + events.event("error", {"detail": "\n\r\nid: x"})
    assert [event for event, _, _ in parsed(stream)] == ["message", "gap", "error"]
    assert {last for _, _, last in parsed(stream)} == {"a-1"}
    assert stream.startswith(b"retry: 1500\n\n:\n\n")
