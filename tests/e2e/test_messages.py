"""What travels with a message, and bodies of every size and framing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.cluster import PATIENCE, Client, Front
from tests.support.table import table

MIB = 1024 * 1024
KEPT = {
    "Content-Type": 'application/json; charset="utf-8"; x=\xe4\xff',
    "Content-Encoding": "gzip",
    "Content-Language": "de, en;q=0.5",
    "Traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "Tracestate": "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
    "Ce-Id": "a-1",
    "Ce-Source": "/orders?x=%20&y=\xa0\xff",
    "Meta-Plain": "value",
    "Meta-Inner": "two  spaces\tand a tab",
    "Meta-Latin": "".join(map(chr, range(0xA1, 0x100))),
    "Meta-Empty-Quotes": '""',
    "Meta-A-B-C": "~!@#$%^&*()_+{}|:<>?",
}


def roundtrip(web: Client, topic: str, body: bytes, headers: dict[str, str] | None = None) -> dict[str, str]:
    """Publish and take one message. Return the headers that came back, by lower-case name."""
    web.subscribe(topic, "ann")
    published = web.publish(topic, body, headers)
    assert published.status == 200, published
    taken = web.take(topic, "ann")
    assert taken.body == body
    return {name.lower(): value for name, value in taken.headers.items()}


def test_kept_headers_come_back_byte_for_byte(front: Front) -> None:
    got = roundtrip(front.web, "kept", b"x", KEPT)
    assert {name: got.get(name.lower()) for name in KEPT} == KEPT


def test_other_headers_are_not_kept(front: Front) -> None:
    others = {"Authorization": "Bearer s3cret", "Cookie": "a=b", "X-Forwarded-For": "10.0.0.1", "Msg-Id": "1-1"}
    got = roundtrip(front.web, "others", b"x", others | {"Metal": "no", "Cex-A": "no"})
    assert not {"authorization", "cookie", "x-forwarded-for", "metal", "cex-a"} & set(got)
    assert got["msg-id"] != "1-1"


def test_the_default_content_type(front: Front) -> None:
    assert roundtrip(front.web, "untyped", b"x")["content-type"] == "application/octet-stream"


def test_32_fields_are_kept_and_33_are_refused(front: Front) -> None:
    fields = {f"Meta-{n}": str(n) for n in range(31)} | {"Content-Type": "text/plain"}
    got = roundtrip(front.web, "fields", b"x", fields)
    assert {name: got.get(name.lower()) for name in fields} == fields
    answer = front.web.publish("fields", b"x", fields | {"Meta-More": "1"})
    assert (answer.status, answer.code) == (431, "headers-too-large")
    assert front.web.drain("fields", "ann") == []


def test_8_kib_of_headers_are_kept_and_one_byte_more_is_refused(front: Front) -> None:
    value = "v" * (8 * 1024 - len("meta-big"))
    assert roundtrip(front.web, "headerbytes", b"x", {"Meta-Big": value})["meta-big"] == value
    answer = front.web.publish("headerbytes", b"x", {"Meta-Big": value + "v"})
    assert (answer.status, answer.code) == (431, "headers-too-large")
    assert front.web.drain("headerbytes", "ann") == []


@table(
    "body",
    [b"", b"\x00", bytes(range(256)), b"\r\n\r\n0\r\n", b"x" * (16 * 1024), bytes(range(256)) * 256, b"m" * MIB],
)
def test_any_body_comes_back_as_it_was(front: Front, body: bytes) -> None:
    roundtrip(front.web, "bodies", body)


def test_a_body_over_the_ceiling_is_refused(front: Front) -> None:
    web = front.web
    web.subscribe("toobig", "ann")
    answer = web.publish("toobig", b"m" * (MIB + 1))
    assert answer.status == 413
    assert answer.headers["Connection"] == "close"
    assert web.publish("toobig", b"m" * MIB).status == 200
    assert [len(body) for body in web.drain("toobig", "ann")] == [MIB]


def pieces(size: int, total: int) -> Iterator[bytes]:
    """Yield pieces of at most `size` bytes, `total` bytes together."""
    for start in range(0, total, size):
        yield b"c" * min(size, total - start)


@table(("size", "total"), [(1, 1), (7, 1000), (5000, MIB), (MIB, MIB)])
def test_chunked_bodies(front: Front, size: int, total: int) -> None:
    web = front.web
    web.subscribe("chunked", "ann")
    answer = web.publish("chunked", pieces(size, total))
    assert answer.status == 200
    assert web.take("chunked", "ann").body == b"c" * total


def test_a_chunked_body_over_the_ceiling_is_refused(front: Front) -> None:
    web = front.web
    web.subscribe("chunkedbig", "ann")
    answer = web.publish("chunkedbig", pieces(64 * 1024, MIB + 1))
    assert answer.status == 413
    assert web.drain("chunkedbig", "ann") == []


def curl(*arguments: str) -> str:
    """Return what curl prints."""
    command = ["curl", "--silent", "--show-error", "--max-time", str(int(PATIENCE)), "--noproxy", "*", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def test_curl_waits_for_100_continue_before_a_large_body(front: Front, folder: Path) -> None:
    file, got = folder / "body", folder / "got"
    file.write_bytes(bytes(range(256)) * (MIB // 256))
    front.web.subscribe("expect", "ann")
    url = f"http://127.0.0.1:{front.port}/expect"
    wait = ["--expect100-timeout", str(int(PATIENCE)), "-H", "Expect: 100-continue", "-H", "Content-Type: a/b"]
    said = curl("-v", *wait, "--data-binary", f"@{file}", url)
    assert "100 Continue" in said
    assert "msg-subscribers: 1" in said.lower()
    curl("--output", str(got), f"{url}/ann")
    assert got.read_bytes() == file.read_bytes()


def test_a_large_body_is_refused_before_it_is_sent(front: Front, folder: Path) -> None:
    file = folder / "body"
    file.write_bytes(b"x" * (MIB + 1))
    wait = ["--expect100-timeout", str(int(PATIENCE)), "-H", "Expect: 100-continue"]
    said = curl("-v", *wait, "--data-binary", f"@{file}", f"http://127.0.0.1:{front.port}/expect")
    assert "HTTP/1.1 413" in said
    assert "100 Continue" not in said


def test_http_1_0(front: Front) -> None:
    url = f"http://127.0.0.1:{front.port}/old"
    for arguments, status in (
        (["-X", "POST", f"{url}/ann"], 200),
        (["--data-binary", "from the past", url], 200),
        ([f"{url}/ann"], 200),
        ([f"{url}/ann"], 204),
    ):
        said = curl("--http1.0", "--include", *arguments)
        assert said.startswith(f"HTTP/1.1 {status} ")
    front.web.publish("old", b"kept alive")
    said = curl("--http1.0", "-v", "-H", "Connection: keep-alive", f"{url}/ann", f"{url}/ann")
    assert "kept alive" in said
    assert "Re-using existing connection" in said


def test_connection_close_is_kept(front: Front) -> None:
    web = front.client()
    answer = web.call("POST", "/closing/ann", headers={"Connection": "close"})
    assert answer.status == 200
    assert answer.headers["Connection"] == "close"
    assert not web.connected
    assert web.take("closing", "ann").status == 204  # over a new connection
    assert web.connected
    web.close()


def test_a_connection_is_kept_through_errors_of_the_application(front: Front) -> None:
    web = front.client()
    web.subscribe("keepalive", "ann")
    for method, path in (("GET", "/a/b/c"), ("PUT", "/x"), ("GET", "/x/%FF"), ("GET", "/x/y?z"), ("GET", "/x/y")):
        assert web.call(method, path).status >= 400
        assert web.connected
    web.close()
