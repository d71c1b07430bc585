"""The loop of `stream`, run against a list of outcomes and lines, and the lines themselves."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from fanmail import CursorLost, Denied, LeasesOut, NoSubscription, ServerFault
from fanmail.flow import Send
from fanmail.http_call import NoResponse, Request, Response
from fanmail.lines import Lines
from fanmail.streaming import Gap, Progress, StreamOptions, confirm_handled, confirm_regularly, stream_messages
from tests.client.fakes import RESET, URLS, Stage, problem

OPEN = Response(200, {"content-type": "application/x-ndjson"})
DONE = Response(200, {})
FIRST = "GET /t/u?stream=ndjson&confirm=client&after=0"


def line(seq: int, text: str = "") -> bytes:
    return json.dumps(
        {"id": f"e-{seq}", "time": "2026-01-01T00:00:00.000Z", "attempt": 1, "type": "text/plain", "text": text}
    ).encode()


def event(name: str, **members: object) -> bytes:
    return json.dumps({"event": name} | members).encode()


def stream(stage: Stage, limit: int = 1000, progress: Progress | None = None, **options: object) -> None:
    flow = stream_messages(stage.exchange, "t", "u", StreamOptions(**options), progress or Progress())
    stage.play(flow, limit)


def test_messages_are_emitted_as_they_come_and_silence_is_passed_over() -> None:
    stage = Stage([OPEN])
    stage.lines = [b"", line(1, "a\u2028b"), b"", line(2)]
    stream(stage, limit=2)
    assert stage.emitted == ["e-1", "e-2"]
    assert stage.emitted_items[0].text == "a\u2028b"
    assert stage.targets == [FIRST]


@pytest.mark.parametrize("why", [RESET, NoResponse(True, "the stream has ended"), event("error", status=503)])
def test_after_any_end_the_next_stream_begins_after_what_was_handled(why: bytes | NoResponse) -> None:
    stage = Stage([OPEN, RESET, OPEN], urls=URLS)
    stage.lines = [line(1), line(2), why, line(3)]
    stream(stage, limit=3)
    assert stage.targets == [FIRST, *["GET /t/u?stream=ndjson&confirm=client&after=e-2"] * 2]
    assert stage.emitted == ["e-1", "e-2", "e-3"]


def test_a_server_that_ends_every_stream_at_once_is_asked_less_and_less_often() -> None:
    stage = Stage([OPEN] * 4 + [problem(403, "forbidden")])
    with pytest.raises(Denied):
        stream(stage)
    assert stage.pauses == [0.1, 0.2, 0.4, 0.8]


def test_a_message_is_handled_when_the_next_is_asked_for() -> None:
    stage, progress = Stage([OPEN]), Progress()
    stage.lines = [line(1), line(2)]
    stream(stage, limit=2, progress=progress)
    assert progress == Progress(handled="e-1", confirmed="0")


def test_opening_a_stream_confirms_what_was_handled_before() -> None:
    stage, progress = Stage([OPEN, OPEN]), Progress()
    stage.lines = [line(1), RESET, line(2)]
    stream(stage, limit=2, progress=progress)
    assert progress == Progress(handled="e-1", confirmed="e-1")


def test_a_gap_is_told() -> None:
    stage, told = Stage([OPEN]), list[Gap]()
    stage.lines = [event("gap", **{"from": "e-1", "position": "e-5"}), line(5)]
    stream(stage, limit=1, on_gap=told.append)
    assert told == [Gap("e-1", "e-5")]


@pytest.mark.parametrize(
    ("name", "status", "code", "error"),
    [
        ("end", 404, "no-subscription", NoSubscription),
        ("end", 401, "unauthorized", Denied),
        ("error", 409, "leases-out", LeasesOut),
    ],
)
def test_an_end_for_good_is_raised(name: str, status: int, code: str, error: type[Exception]) -> None:
    stage = Stage([OPEN])
    stage.lines = [event(name, status=status, code=code, detail="about it")]
    with pytest.raises(error, match=r"about it|Subscribe again"):
        stream(stage)
    assert stage.targets == [FIRST]


def test_a_lost_cursor_is_raised() -> None:
    with pytest.raises(CursorLost):
        stream(Stage([problem(410, "cursor-lost")]), after="old-7")


@pytest.mark.parametrize("text", [b"<html>", b"[]", b'{"id": "e-1"}', b'{"event": "gap"}'])
def test_what_is_not_from_fanmail_is_an_error(text: bytes) -> None:
    stage = Stage([OPEN])
    stage.lines = [text]
    with pytest.raises(ServerFault, match="not from Fanmail"):
        stream(stage)


def test_what_a_later_server_adds_is_ignored() -> None:
    stage = Stage([OPEN])
    stage.lines = [event("news", anything=1), line(1)]
    stream(stage, limit=1)
    assert stage.emitted == ["e-1"]


def test_what_is_handled_is_confirmed_once_per_second_and_only_once() -> None:
    stage, progress = Stage([DONE, problem(403, "forbidden"), DONE]), Progress(handled="e-3")
    flow = confirm_regularly(stage.exchange, "t", "u", progress)
    for _ in range(4):
        stage.pause_of(flow)
    assert stage.targets == ["PATCH /t/u?after=e-3"]
    progress.handled = "e-4"
    for _ in range(3):
        stage.pause_of(flow)
    assert stage.targets[1:] == ["PATCH /t/u?after=e-4"] * 2, "what failed is confirmed a second later"
    assert progress.confirmed == "e-4"


def test_nothing_is_confirmed_before_anything_is_handled() -> None:
    stage = Stage([])
    stage.play(confirm_handled(stage.exchange, "t", "u", Progress()))
    assert stage.sent == []


SEND = Send("http://one", Request("GET", "/"), 1.0, streams=True)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_lines_are_split_at_newlines_only_wherever_their_parts_end(size: int) -> None:
    data = "a\u2028b\n\nc\rd\x0be\nincomplete".encode()

    def parts() -> Iterator[bytes]:
        yield from (data[start : start + size] for start in range(0, len(data), size))
        raise httpx.ReadError("reset")

    with Lines() as lines:
        lines.open(SEND, httpx.Response(200, content=parts()))
        assert [lines.read() for _ in range(3)] == ["a\u2028b".encode(), b"", b"c\rd\x0be"]
        assert lines.read() == NoResponse(True, "http://one: ReadError: reset")


def test_the_end_of_a_stream_has_its_reason() -> None:
    with Lines() as lines:
        lines.open(SEND, httpx.Response(200, content=iter([b"a\n"])))
        assert [lines.read(), lines.read()] == [b"a", NoResponse(True, "http://one: the stream has ended")]
