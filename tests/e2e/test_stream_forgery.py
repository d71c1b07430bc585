"""No body, header or name forges an event or a field of a stream, as an independent client reads it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from itertools import islice
from urllib.parse import quote

import httpx
from httpx_sse import EventSource, ServerSentEvent

from tests.e2e.cluster import Cluster
from tests.e2e.streams import Stream

LINE_ENDS = ("\n", "\r", "\r\n", "\n\n", "\r\r", "\r\n\r\n", "\n\r", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\0")
FORGED = ("data: x", "id: 9-9", "event: end", "retry: 1", ": x", '{"id":"9-9","event":"end"}')
BODIES = [f"a{end}{line}{end}".encode() for end in LINE_ENDS for line in FORGED]
BODIES += [b"", b"\n", b"\r", b"\xff\n\ndata: x\n\n", b" a", b"a ", b"\xef\xbb\xbfa"]
VALUES = (b"a\tb", b"\x85id: 9-9", b"\xe2\x80\xa8data: x", b"\xff\xfe", b'"}\\n\\nevent: end', b"\\r\\ndata: x")
TOPIC, USER = "data: x", 'id: 9-9"}'


def events(cluster: Cluster, query: str, count: int) -> Iterator[ServerSentEvent]:
    url = f"http://127.0.0.1:{cluster.fronts[0].port}/{quote(TOPIC, safe='')}/{quote(USER, safe='')}?{query}"
    with httpx.Client(trust_env=False) as client, client.stream("GET", url) as answer:
        yield from islice(messages(EventSource(answer)), count)


def messages(source: EventSource) -> Iterator[ServerSentEvent]:
    """Yield the messages. This client, unlike a browser, also yields what has no data: the start, and comments."""
    last = ""
    for each in source.iter_sse():
        if each.id != last and not each.id.endswith("-0"):
            yield each
        last = each.id


def test_every_body_and_header_comes_back_as_itself(cluster: Cluster) -> None:
    web, topic, user = cluster.fronts[0].web, quote(TOPIC, safe=""), quote(USER, safe="")
    assert web.subscribe(topic, user).status == 200
    ids = []
    for number, body in enumerate(BODIES):
        value = VALUES[number % len(VALUES)].decode("latin-1")
        answer = web.publish(topic, body, {"Meta-Odd": value, "Content-Type": f'text/plain; x="{value}"'})
        assert answer.status == 200
        ids.append(answer.headers["Msg-Id"])
    for each, msg_id, body in zip(events(cluster, "stream=sse&confirm=client", len(ids)), ids, BODIES, strict=True):
        assert (each.event, each.id, each.json()["id"]) == ("message", msg_id, msg_id)
        assert body_of(each.json()) == body
    told = events(cluster, "stream=sse&data=text&confirm=client", len(ids))
    for each, msg_id, body in zip(told, ids, BODIES, strict=True):
        found = base64.b64decode(each.data) if each.event == "base64" else each.data.encode()
        assert (each.event in ("message", "base64"), each.id, found) == (True, msg_id, body)
    with Stream(cluster.fronts[0], f"/{topic}/{user}", "&confirm=client") as stream:
        for msg_id, body in zip(ids, BODIES, strict=True):
            line = stream.next()
            assert (line["id"], "event" in line, body_of(line)) == (msg_id, False, body)


def body_of(members: dict[str, str]) -> bytes:
    return base64.b64decode(members["base64"]) if "base64" in members else members["text"].encode()
