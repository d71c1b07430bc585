"""The four core calls as a client sees them (sections 1 and 10 of the API), through real fronts and brokers."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

from tests.e2e.cluster import Cluster, Front
from tests.support.table import table

MSG_ID = re.compile(r"(?P<epoch>[0-9a-f]+)-(?P<seq>[1-9][0-9]*)").fullmatch


def split_id(msg_id: str | None) -> tuple[str, int]:
    """Return epoch and sequence number."""
    match = MSG_ID(msg_id or "")
    assert match, msg_id
    return match["epoch"], int(match["seq"])


def test_subscribe_publish_take_unsubscribe(front: Front) -> None:
    web = front.web
    for _ in range(2):
        answer = web.subscribe("core", "ann")
        assert (answer.status, answer.body) == (200, b"")
    assert web.take("core", "ann").status == 204

    published = web.publish("core", b"one", {"Content-Type": "text/plain"})
    assert (published.status, published.body) == (200, b"")
    assert published.headers["Msg-Subscribers"] == "1"

    taken = web.take("core", "ann")
    assert (taken.status, taken.body) == (200, b"one")
    assert taken.headers["Msg-Id"] == published.headers["Msg-Id"]
    assert taken.headers["Content-Type"] == "text/plain"
    assert taken.headers["Msg-Attempt"] == "1"
    assert taken.headers["Msg-Pending"] == "0"
    assert "Msg-Receipt" not in taken.headers

    nothing = web.take("core", "ann")
    assert (nothing.status, nothing.body) == (204, b"")
    answer = web.unsubscribe("core", "ann")
    assert (answer.status, answer.body) == (200, b"")
    for answer in (web.take("core", "ann"), web.unsubscribe("core", "ann")):
        assert (answer.status, answer.code) == (404, "no-subscription")


def test_every_subscriber_gets_every_message_once_and_in_order(front: Front) -> None:
    web = front.web
    users = ["ann", "bob", "cy"]
    for user in users:
        web.subscribe("everyone", user)
    bodies = [b"%d" % n for n in range(20)]
    for body in bodies:
        assert web.publish("everyone", body).headers["Msg-Subscribers"] == "3"
    for user in users:
        assert web.drain("everyone", user) == bodies


def test_messages_before_a_subscription_are_not_for_it(front: Front) -> None:
    web = front.web
    web.subscribe("before", "ann")
    web.publish("before", b"early")
    web.subscribe("before", "bob")
    web.publish("before", b"late")
    assert web.drain("before", "bob") == [b"late"]
    assert web.drain("before", "ann") == [b"early", b"late"]


def test_subscribing_again_keeps_what_is_queued(front: Front) -> None:
    web = front.web
    assert web.subscribe("again", "ann").headers["Subscription-Created"] == "true"
    web.publish("again", b"kept")
    assert web.subscribe("again", "ann").headers["Subscription-Created"] == "false"
    assert web.drain("again", "ann") == [b"kept"]


def test_unsubscribing_and_subscribing_again_starts_empty(front: Front) -> None:
    web = front.web
    for user in ("ann", "bob"):
        web.subscribe("anew", user)
    web.publish("anew", b"old")
    web.unsubscribe("anew", "ann")
    web.subscribe("anew", "ann")
    assert web.drain("anew", "ann") == []
    assert web.drain("anew", "bob") == [b"old"]


def test_publishing_without_subscribers_is_accepted_and_dropped(front: Front) -> None:
    web = front.web
    answer = web.publish("nobody", b"into the void")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Msg-Subscribers"] == "0"
    assert "Msg-Id" not in answer.headers
    web.subscribe("nobody", "ann")
    assert web.drain("nobody", "ann") == []


def test_the_body_of_a_subscribe_is_ignored(front: Front) -> None:
    web = front.web
    answer = web.call("POST", "/ignored/ann", b"x" * 100_000, {"Content-Type": "application/json"})
    assert (answer.status, answer.body) == (200, b"")
    assert web.drain("ignored", "ann") == []


def test_the_same_user_name_on_two_topics_is_two_subscriptions(front: Front) -> None:
    web = front.web
    web.subscribe("left", "ann")
    web.subscribe("right", "ann")
    web.publish("left", b"l")
    assert web.drain("right", "ann") == []
    assert web.drain("left", "ann") == [b"l"]


def test_ids_count_without_gaps_and_a_new_life_has_a_new_epoch(front: Front) -> None:
    web = front.web
    web.subscribe("life", "ann")
    first = [split_id(web.publish("life", b"x").headers["Msg-Id"]) for _ in range(5)]
    web.subscribe("life", "bob")
    web.unsubscribe("life", "ann")
    first += [split_id(web.publish("life", b"x").headers["Msg-Id"]) for _ in range(2)]
    assert [seq for _, seq in first] == [1, 2, 3, 4, 5, 6, 7]
    assert len({epoch for epoch, _ in first}) == 1
    assert split_id(web.take("life", "bob").headers["Msg-Id"]) == first[5]

    web.unsubscribe("life", "bob")
    web.publish("life", b"between two lives")
    web.subscribe("life", "ann")
    epoch, seq = split_id(web.publish("life", b"x").headers["Msg-Id"])
    assert seq == 1
    assert epoch != first[0][0]


def test_msg_pending_counts_what_waits_behind(front: Front) -> None:
    web = front.web
    web.subscribe("pending", "ann")
    for _ in range(3):
        web.publish("pending", b"x")
    assert [web.take("pending", "ann").headers["Msg-Pending"] for _ in range(3)] == ["2", "1", "0"]


def test_msg_time_is_the_time_of_publishing(front: Front) -> None:
    web = front.web
    web.subscribe("time", "ann")
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    web.publish("time", b"x")
    after = datetime.now(UTC)
    text = web.take("time", "ann").headers["Msg-Time"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    assert before <= datetime.fromisoformat(text) <= after


@table(
    ("path", "allow"),
    [
        ("/shape", {"POST"}),
        ("/shape/ann", {"DELETE", "GET", "HEAD", "PATCH", "POST"}),
        ("/shape/ann/acks", {"POST"}),
        ("/shape/ann/dead", {"DELETE", "GET", "HEAD", "POST"}),
        ("/shape/ann/e1-1.1", {"DELETE", "PATCH"}),
        ("/livez", {"GET", "HEAD", "POST"}),
        ("/readyz", {"GET", "HEAD", "POST"}),
        ("/", {"GET", "HEAD"}),
    ],
)
def test_every_other_method_is_405_with_allow(front: Front, path: str, allow: set[str]) -> None:
    methods = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "LOCK", "BREW"} - allow
    if path == "/":
        methods.discard("POST")  # publishes to an empty name: 400
    for method in sorted(methods):
        answer = front.web.call(method, path)
        assert {each.strip() for each in answer.headers["Allow"].split(",")} == allow | {"OPTIONS"}
        if method == "OPTIONS":
            assert (answer.status, answer.body) == (204, b"")
            continue
        assert answer.status == 405, method
        if method != "HEAD":
            assert answer.code == "method-not-allowed"
    assert front.web.take("shape", "ann").status == 404  # none of them had an effect


def test_options_of_the_whole_server_and_of_what_is_no_path(front: Front) -> None:
    answer = front.web.call("OPTIONS", "*")
    assert (answer.status, answer.headers["Allow"]) == (204, "DELETE, GET, HEAD, OPTIONS, PATCH, POST")
    for method, path, refusal in (
        ("GET", "*", "no-route"),
        ("POST", "*", "no-route"),
        ("OPTIONS", "/a/b/c/d", "no-route"),
        ("OPTIONS", "/a/", "bad-name"),
        ("OPTIONS", "/a/%FF", "bad-name"),
    ):
        assert front.web.call(method, path).code == refusal, (method, path)


@table("path", ["/a/b/c/d", "/a/b/c/d/e", "/a/b/acks/d"])
def test_other_shapes_of_path_have_nothing(front: Front, path: str) -> None:
    for method in ("GET", "POST", "DELETE", "PATCH"):
        answer = front.web.call(method, path)
        assert (answer.status, answer.code) == (404, "no-route"), (method, path)


def test_every_answer_to_a_get_is_not_to_be_stored(front: Front) -> None:
    web = front.web
    web.subscribe("fresh", "ann")
    web.publish("fresh", b"<script>")
    statuses = []
    targets = ["/fresh/ann", "/fresh/ann", "/fresh/nobody", "/fresh", "/fresh/ann?x=1", "/fresh/%FF"]
    for path in [*targets, "/", "/livez", "/readyz", "/a/b/c/d"]:
        answer = web.call("GET", path)
        statuses.append(answer.status)
        assert answer.headers["Cache-Control"] == "no-store", path
        if path == "/fresh/ann" and answer.status == 200:
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert statuses == [200, 204, 404, 405, 400, 400, 200, 200, 200, 404]


@table(
    ("query", "named"),
    [
        ("leese=30", "leese"),
        ("wait", "wait"),
        ("a=1&a=2", "a"),
        ("=", ""),
        ("x=%FF", "x"),
        ("%FF=1", "%FF"),
        ("strict=1", "strict"),
        ("&", ""),
        ("a+b=1", "a b"),
    ],
)
def test_an_unknown_or_malformed_parameter_is_refused_by_name_and_nothing_happens(
    front: Front, query: str, named: str
) -> None:
    web = front.web
    topic = f"careful-{query.encode().hex()}"
    web.subscribe(topic, "ann")
    web.publish(topic, b"still here")
    for method, path in (
        ("GET", f"/{topic}/ann"),
        ("DELETE", f"/{topic}/ann"),
        ("POST", f"/{topic}/eve"),
        ("POST", f"/{topic}"),
    ):
        answer = web.call(method, f"{path}?{query}")
        assert (answer.status, answer.code) == (400, "bad-parameter"), method
        problem = json.loads(answer.body)
        assert problem["parameter"] == named
        assert f"'{named}'" in problem["detail"]
    assert web.take(topic, "eve").status == 404
    assert web.drain(topic, "ann") == [b"still here"]


def test_an_empty_query_is_no_query(front: Front) -> None:
    assert front.web.call("POST", "/emptyquery/ann?").status == 200
    assert front.web.call("GET", "/emptyquery/ann?").status == 204


@table("query", ["strict=2", "strict=", "strict=1&strict=1", "strikt=1"])
def test_parameters_of_probes_are_checked_too(front: Front, query: str) -> None:
    answer = front.web.call("GET", f"/readyz?{query}")
    assert (answer.status, answer.code) == (400, "bad-parameter")


def test_errors_are_problem_documents(front: Front) -> None:
    cases = {
        "bad-name": front.web.call("GET", "/%FF/ann"),
        "bad-parameter": front.web.call("GET", "/errors/ann?x=1"),
        "no-subscription": front.web.call("GET", "/errors/ann"),
        "no-route": front.web.call("GET", "/a/b/c/d"),
        "method-not-allowed": front.web.call("PUT", "/errors"),
        "headers-too-large": front.web.publish("errors", b"", {f"Meta-{n}": "x" for n in range(33)}),
    }
    for code, answer in cases.items():
        assert answer.headers["Content-Type"] == "application/problem+json"
        problem = json.loads(answer.body)
        assert problem["code"] == code
        assert problem["type"].endswith(code)
        assert problem["status"] == answer.status
        assert isinstance(problem["title"], str)
        assert isinstance(problem["detail"], str)
        assert problem["title"]
        assert problem["detail"]


def test_the_request_id_is_taken_or_made(front: Front) -> None:
    given = front.web.call("GET", "/rid/ann", headers={"X-Request-Id": "client-7/42"})
    assert given.headers["X-Request-Id"] == "client-7/42"
    made = [front.web.call("GET", "/rid/ann").headers["X-Request-Id"] for _ in range(3)]
    assert len(set(made)) == 3
    for unusable in ("x" * 129, "with space", "\xe9"):
        answer = front.web.call("GET", "/rid/ann", headers={"X-Request-Id": unusable})
        assert answer.headers["X-Request-Id"] not in ("", unusable)


def test_index_and_probes(cluster: Cluster) -> None:
    for front in cluster.fronts:
        index = json.loads(front.web.call("GET", "/").body)
        assert index["name"] == "fanmail"
        assert json.loads(front.web.call("GET", "/livez").body) == {"live": True}
        ready = front.web.call("GET", "/readyz?strict=1")
        assert ready.status == 200
        assert json.loads(ready.body) == {"ready": True, "draining": False, "brokers": 2, "missing": []}
        assert front.web.call("HEAD", "/livez").body == b""
