"""Names of topics and users end to end: decoded once, never changed, none reserved."""

from __future__ import annotations

from tests.e2e.cluster import Front
from tests.support.table import table

LEGAL = {
    "slash": "rooms%2Fblue",
    "only a slash": "%2F",
    "plus": "a+b",
    "encoded plus": "a%2Bc",
    "space": "a%20b",
    "percent": "100%25",
    "encoded percent of a slash": "a%252Fb",
    "question mark": "what%3F",
    "hash": "%23",
    "utf-8": "%C3%A9t%C3%A9",
    "decomposed": "e%CC%81te%CC%81",
    "lower case escapes": "%c3%a5",
    "emoji": "%F0%9F%93%AC",
    "three dots": "...",
    "dot in front": ".hidden",
    "semicolon": "a;b=c",
    "colon": "a:b",
    "star": "*",
    "hash key": "$SYS",
    "255 bytes": "n" * 255,
    "255 bytes encoded": "%C3%A9" * 127 + "x",
    "no-break space": "%C2%A0",
    "zero width joiner": "a%E2%80%8Db",
}
ILLEGAL = {
    "broken UTF-8": "%FF",
    "broken UTF-8 2": "%FE",
    "cut UTF-8": "%C3",
    "surrogate": "%ED%A0%80",
    "overlong": "%C0%AF",
    "NUL": "%00",
    "NUL behind": "a%00",
    "newline": "%0A",
    "DEL": "%7F",
    "C1": "%C2%85",
    "dot": ".",
    "two dots": "..",
    "encoded dot": "%2E",
    "encoded dots": "%2e%2E",
    "half encoded dots": ".%2e",
    "256 bytes": "n" * 256,
    "256 bytes encoded": "%C3%A9" * 128,
    "broken escape": "a%2",
    "broken escape 2": "%zz",
    "empty": "",
}


@table("name", LEGAL.values())
def test_a_legal_name_is_a_topic_and_a_user_of_its_own(front: Front, name: str) -> None:
    web = front.web
    assert web.subscribe(name, name).headers["Subscription-Created"] == "true"
    assert web.publish(name, name.encode()).headers["Msg-Subscribers"] == "1"
    assert web.drain(name, name) == [name.encode()]
    assert web.unsubscribe(name, name).status == 200


def test_different_names_are_never_the_same_topic(front: Front) -> None:
    web = front.web
    names = [*LEGAL.values(), "A+B", "a%20B", "rooms%2fBLUE", "%C3%89T%C3%89", "...."]
    for name in names:
        assert web.subscribe(name, "ann").headers["Subscription-Created"] == "true", name
    for name in names:
        assert web.publish(name, name.encode()).headers["Msg-Subscribers"] == "1"
    for name in names:
        assert web.drain(name, "ann") == [name.encode()]
        web.unsubscribe(name, "ann")


@table(("one", "other"), [("a%2Bb", "a+b"), ("%7Etilde", "~tilde"), ("%61bc", "abc"), ("%2f", "%2F"), ("%3A", ":")])
def test_two_spellings_of_one_name_are_one_topic(front: Front, one: str, other: str) -> None:
    web = front.web
    assert web.subscribe(one, "spelled").headers["Subscription-Created"] == "true"
    assert web.subscribe(other, "spelled").headers["Subscription-Created"] == "false"
    assert web.unsubscribe(other, "spelled").status == 200


@table("name", ILLEGAL.values())
def test_an_illegal_name_is_refused_everywhere(front: Front, name: str) -> None:
    for method, path in (
        ("POST", f"/{name}"),
        ("POST", f"/{name}/ann"),
        ("GET", f"/{name}/ann"),
        ("DELETE", f"/{name}/ann"),
        ("POST", f"/fine/{name}"),
        ("GET", f"/fine/{name}"),
        ("DELETE", f"/fine/{name}"),
    ):
        answer = front.web.call(method, path)
        assert (answer.status, answer.code) == (400, "bad-name"), (method, path)


@table("path", ["//", "//ann", "/fine/", "/", "//fine/ann", "/fine//ann", "/fine/ann/"])
def test_empty_segments_are_not_folded(front: Front, path: str) -> None:
    web = front.web
    web.subscribe("fine", "ann")
    answer = web.call("POST", path, b"x")
    assert (answer.status, answer.code) == (400, "bad-name")
    assert web.drain("fine", "ann") == []


@table("name", ["metrics", "healthz", "livez", "readyz", "openapi.json", "-", "v1", "acks", "dead"])
def test_no_name_is_reserved(front: Front, name: str) -> None:
    web = front.web
    assert web.subscribe(name, name).status == 200
    assert web.publish(name, b"mine").headers["Msg-Subscribers"] == "1"
    assert web.take(name, name).body == b"mine"
    assert web.unsubscribe(name, name).status == 200


def test_a_target_in_absolute_form_means_the_same(front: Front) -> None:
    web = front.client()
    host = f"http://127.0.0.1:{front.port}"
    assert web.call("POST", f"{host}/absolute/a%2Fb").status == 200
    assert web.call("POST", f"{host}/absolute", b"x").headers["Msg-Subscribers"] == "1"
    assert web.take("absolute", "a%2Fb").body == b"x"
    web.close()
