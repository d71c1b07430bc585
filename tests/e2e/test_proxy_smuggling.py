"""Requests that two parsers might read differently, through nginx and HAProxy: nothing hidden in them is executed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from tests.e2e import raw_h2
from tests.e2e.proxies import TLS_DOORS, Door

EVIL = b"POST /%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nevil"
COVERED = b"Content-Length: %d\r\n\r\n"
"""Declares everything that follows, including EVIL, as the body."""
CHUNKED = b"Transfer-Encoding: chunked\r\n"
FRAMINGS = {
    "length before chunked": b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "length behind chunked": CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
    "length zero and chunked": b"Content-Length: 0\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    "unknown coding with length": b"Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "unknown coding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two codings": CHUNKED + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "the same coding twice": CHUNKED + CHUNKED + b"\r\n0\r\n\r\n",
    "list of codings": b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    "quoted coding": b'Transfer-Encoding: "chunked"\r\nContent-Length: 5\r\n\r\n0\r\n\r\n',
    "vertical tab": b"Transfer-Encoding: \x0bchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "space before the colon": b"Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "space before the name": b" Transfer-Encoding: chunked\r\n" + COVERED + b"0\r\n\r\n",
    "folded coding": b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": CHUNKED + b"\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 0\r\nContent-Length: 62\r\n\r\n",
    "list of lengths": b"Content-Length: 0, 62\r\n\r\n",
    "length with a sign": b"Content-Length: +0\r\n\r\n",
    "negative length": b"Content-Length: -1\r\n\r\n",
    "hexadecimal length": b"Content-Length: 0x0\r\n\r\n",
    "endless length": b"Content-Length: 99999999999999999999\r\n\r\n",
    "CR alone": b"X-A: b\rContent-Length: 0\r\n\r\n",
    "chunk size with 0x": CHUNKED + b"\r\n0x2\r\nok\r\n0\r\n\r\n",
    "chunk size that overflows": CHUNKED + b"\r\n10000000000000002\r\nok\r\n0\r\n\r\n",
    "negative chunk size": CHUNKED + b"\r\n-2\r\nok\r\n0\r\n\r\n",
    "chunk without an end": CHUNKED + b"\r\n2\r\nokXX0\r\n\r\n",
    "LF in a chunk's extension": CHUNKED + b"\r\n2;a\nxx;x\r\nok\r\n0\r\n\r\n",
    "length behind an LF": b"X-A: b\n" + COVERED,
    "length that is a hop's": b"Connection: Content-Length\r\n" + COVERED,
    "underscores": b"Transfer_Encoding: chunked\r\nContent_Length: 0\r\n" + COVERED,
    "plain length": COVERED,
}


def prepared(door: Door, stem: str) -> bytes:
    """Return a topic whose messages are observed."""
    topic = door.topic(stem)
    assert door.web.subscribe(topic, "ann").status == 200
    return topic.encode()


def told(door: Door, data: bytes) -> None:
    """Send exactly this, and read until the proxy closes or has nothing more to say."""
    with suppress(OSError), door.connect() as connection:
        connection.sendall(data)
        connection.settimeout(0.2)
        while connection.recv(65536):
            pass


def unharmed(door: Door, topic: bytes) -> list[bytes]:
    """Assert that every other client still gets its own responses. Return the messages that arrived."""
    for n in range(10):
        answer = door.web.call("GET", "/livez", headers={"X-Request-Id": f"own-{n}"})
        assert (answer.status, answer.headers["X-Request-Id"]) == (200, f"own-{n}")
    return door.web.drain(topic.decode(), "ann")


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_what_follows_an_ambiguous_request_is_not_executed(door: Door, method: str) -> None:
    topics = {name: prepared(door, f"hidden-{n}") for n, name in enumerate(FRAMINGS)}
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: told(door, ambiguous(method, name, topics[name])), FRAMINGS))
    executed = [name for name, topic in topics.items() if b"evil" in unharmed(door, topic)]
    assert executed == []


def ambiguous(method: str, framing: str, topic: bytes) -> bytes:
    """A request, and what might be another one behind it, which publishes to the topic."""
    evil = EVIL % topic
    version, target = ("1.0" if "1.0" in framing else "1.1"), topic if method == "POST" else topic + b"/nobody"
    head = b"%s /%s HTTP/%s\r\nHost: localhost\r\n" % (method.encode(), target, version.encode())
    fields, _, body = FRAMINGS[framing].partition(b"\r\n\r\n")
    return head + fields.replace(b"%d", b"%d" % len(body + evil)) + b"\r\n\r\n" + body + evil


def test_extensions_and_trailers_of_chunks_are_no_content(door: Door) -> None:
    topic = prepared(door, "extended")
    chunks = b'2;a=b\r\nok\r\n0;x="y"\r\nContent-Length: 99\r\nMeta-A: b\r\n\r\n'
    told(door, b"POST /%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n%s" % (topic, CHUNKED, chunks))
    assert unharmed(door, topic) == [b"ok"]


H2 = {
    "length zero": (b"POST", b"/%s", [(b"content-length", b"0")]),
    "length too small": (b"POST", b"/%s", [(b"content-length", b"3")]),
    "coding": (b"POST", b"/%s", [(b"transfer-encoding", b"chunked")]),
    "line end in a value": (b"POST", b"/%s", [(b"x-a", b"b\r\nTransfer-Encoding: chunked")]),
    "line end in a name": (b"POST", b"/%s", [(b"x-a: b\r\ntransfer-encoding", b"chunked")]),
    "line end in the path": (b"POST", b"/%s HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX: ", []),
    "space in the path": (b"POST", b"/%s HTTP/1.1", []),
    "line end in the method": (b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nGET", b"/%s", []),
}


@pytest.mark.parametrize("door", TLS_DOORS, indirect=True, ids=":".join)
def test_nothing_is_smuggled_in_by_http2(door: Door) -> None:
    executed = []
    for attack, (method, path, more) in H2.items():
        topic = prepared(door, f"h2-{len(attack)}")
        base = [(b":method", method), (b":path", path % topic), (b":scheme", b"https"), (b":authority", b"localhost")]
        with door.connect(protocol="h2") as connection:
            raw_h2.ask(connection, [*base, *more], b"0\r\n\r\n" + EVIL % topic)
        if b"evil" in unharmed(door, topic):
            executed.append(attack)
    assert executed == []


@pytest.mark.parametrize("door", TLS_DOORS, indirect=True, ids=":".join)
def test_a_sound_request_by_http2_is_executed(door: Door) -> None:
    """Control: the attacks above arrive."""
    topic = prepared(door, "h2-sound")
    fields = [(b":method", b"POST"), (b":path", b"/" + topic), (b":scheme", b"https"), (b":authority", b"localhost")]
    with door.connect(protocol="h2") as connection:
        assert raw_h2.HEADERS in raw_h2.ask(connection, fields, b"sound")
    assert unharmed(door, topic) == [b"sound"]
