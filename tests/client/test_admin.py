"""The operators' client: what it sends and parses, when it retries, and the responses of a running cluster."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from fanmail import (
    Admin,
    AsyncAdmin,
    BadRequest,
    Client,
    Denied,
    NotFound,
    OutcomeUnknown,
    Refused,
    ServerFault,
    Topic,
    TopicSettings,
    Unavailable,
    admin_calls,
    slot_calls,
)
from fanmail.cli.admin import broker_row
from fanmail.http_call import Call, Response
from fanmail.listing import list_subscriptions, list_topics
from tests.client.fakes import RESET, Stage, problem
from tests.client.proxy import FORBID, REFUSE, SWALLOW, Proxy, first
from tests.conftest import StartCluster
from tests.e2e.cluster import Cluster, wait_for
from tests.support.table import table

UNKNOWN = problem(504, "outcome-unknown")


@pytest.fixture
def admin(cluster: Cluster) -> Admin:
    return Admin([f"http://127.0.0.1:{front.ops_port}" for front in cluster.fronts])


def document(**members: object) -> Response:
    return Response(200, {"content-type": "application/json"}, json.dumps(members).encode())


def row(name: str, **others: object) -> dict[str, object]:
    members = {"topic": name, "broker": "b0", "epoch": "e", "messages": 1, "bytes": 2, "subscriptions": 3}
    return members | {"oldest_age": 4.5} | others


def page(*names: str, cursor: str | None = None, missing: tuple[str, ...] = ()) -> Response:
    return document(topics=[row(name) for name in names], cursor=cursor, missing=missing)


def target(call: Call[object]) -> str:
    return f"{call.request.method} {call.request.target}"


def test_slots_plans_and_moves_are_read_and_asked_for() -> None:
    move = {"slot": 7, "from": "b0", "to": "b1", "move": 9, "state": "leaving", "records": 3, "bytes": 4, "reason": ""}
    found = slot_calls.slot_state(7).parse(document(slot=7, owner="b0", move=move))
    assert found.move is not None
    assert (found.owner, found.move.source, found.move.state) == ("b0", "b0", "leaving")
    group = {"from": "b0", "to": "b1", "slots": "7", "count": 1, "topics": 1, "messages": 2, "bytes": 3}
    plan = slot_calls.slot_plan().parse(document(moves=[{"slot": 7, "from": "b0", "to": "b1"}], groups=[group]))
    assert (plan.moves[0].source, plan.groups[0].messages) == ("b0", 2)
    assert target(slot_calls.slot_plan(["b4", "b5"], ["b0"])) == "GET /-/v1/slots/plan?add=b4%2Cb5&drain=b0"
    assert target(slot_calls.move_slot(7, "b1")) == "PUT /-/v1/slots/7/move?to=b1"
    assert target(slot_calls.resume_moves()) == "DELETE /-/v1/slots/pause"


def test_replicated_brokers_have_candidates_and_others_and_former_servers_none() -> None:
    plain = {"id": "b0", "up": True, "loading": False, "paused": False, "slots": 1024, "round_trip": None, "stats": {}}
    of_each = {"term": 3, "round_trip": 0.001, "log": {"position": 7}}
    pair = [{"host": "h1", "state": "owner", "lag": 0}, {"host": "h2", "state": "standby", "lag": 2}]
    answer = document(brokers=[plain, plain | {"candidates": [each | of_each for each in pair]}])
    first, second = admin_calls.brokers().parse(answer)
    assert first.candidates == ()
    assert [(each.host, each.state, each.term, each.lag) for each in second.candidates] == [
        ("h1", "owner", 3, 0),
        ("h2", "standby", 3, 2),
    ]
    shown = broker_row(second)
    assert (shown["owner"], shown["standby"]) == ("h1", "h2, 2 behind")
    assert "owner" not in broker_row(first)
    down = replace(second, candidates=tuple(replace(each, state="down", lag=None) for each in second.candidates))
    assert broker_row(down)["standby"] == "h1 (down), h2 (down)"


def test_names_are_encoded_whole() -> None:
    assert target(admin_calls.topic("a/b")) == "GET /-/v1/topics/a%2Fb"
    assert target(admin_calls.purge("a/b", "ü")) == "DELETE /-/v1/topics/a%2Fb/subscriptions/%C3%BC/messages"
    assert target(admin_calls.pause("b0")) == "PUT /-/v1/brokers/b0/pause"
    assert target(admin_calls.topic_page("a&b", limit=5)) == "GET /-/v1/topics?prefix=a%26b&limit=5"
    assert target(admin_calls.change_topic("t", max_age=0, overflow="default")).endswith("?max_age=0&overflow=default")
    with pytest.raises(BadRequest):
        admin_calls.topic("..")


def test_a_listing_goes_through_all_pages() -> None:
    stage = Stage([page("a", "b", cursor="Yg"), page("c")])
    stage.play(list_topics(stage.exchange, "x", 2))
    assert [each.topic for each in stage.emitted_items] == ["a", "b", "c"]
    assert stage.emitted_items[0] == Topic("a", "b0", "e", 1, 2, 3, 4.5)
    assert stage.targets == [
        "GET /-/v1/topics?prefix=x&limit=2",
        "GET /-/v1/topics?prefix=x&limit=2&cursor=Yg",
    ]


def test_a_listing_without_a_broker_gives_the_rest_and_says_that_it_is_not_all() -> None:
    stage = Stage([page("a", cursor="YQ", missing=("b1",)), page("b")])
    with pytest.raises(Unavailable, match="b1 did not answer"):
        stage.play(list_topics(stage.exchange, "", 1))
    assert [each.topic for each in stage.emitted_items] == ["a", "b"]


def test_a_page_that_is_refused_is_asked_for_again() -> None:
    stage = Stage([RESET, problem(503, "broker-down", 1), document(subscriptions=[], cursor=None)])
    stage.play(list_subscriptions(stage.exchange, "t", 100))
    assert len(stage.sent) == 3


SAFE = [
    admin_calls.topic_page(),
    admin_calls.topic("t"),
    admin_calls.change_topic("t", max_messages=1),
    admin_calls.subscription_page("t"),
    admin_calls.subscription("t", "u"),
    admin_calls.peek("t", "u"),
    admin_calls.delayed_topic_page(),
    admin_calls.delayed_page("t"),
    admin_calls.one_delayed("t", "1-2"),
    admin_calls.brokers(),
    slot_calls.slots(),
    slot_calls.slot_plan(["b4"]),
    slot_calls.slot_state(7),
    slot_calls.move_slot(7, "b4"),
    slot_calls.abort_move(7),
    slot_calls.pause_moves(),
    slot_calls.resume_moves(),
    admin_calls.pause("b0"),
    admin_calls.resume("b0"),
    admin_calls.config(),
]
UNSAFE = [admin_calls.end_topic("t"), admin_calls.purge("t", "u"), admin_calls.remove_all_delayed("t")]


@table("answer", [UNKNOWN, RESET])
@table("call", SAFE)
def test_what_changes_nothing_the_second_time_is_repeated(call: Call[object], answer: Response) -> None:
    stage = Stage([answer, problem(404, "no-topic")])
    with pytest.raises(NotFound):
        stage.play(stage.exchange.call(call))
    assert len(stage.sent) == 2


@table("answer", [UNKNOWN, RESET])
@table("call", UNSAFE)
def test_what_could_meet_something_new_is_not(call: Call[object], answer: Response) -> None:
    stage = Stage([answer])
    with pytest.raises(OutcomeUnknown):
        stage.play(stage.exchange.call(call))


@table("call", UNSAFE)
def test_what_was_not_executed_is_repeated_always(call: Call[object]) -> None:
    stage = Stage([problem(503, "broker-down", 1), document(ended=3, purged=3, removed=3)])
    assert stage.play(stage.exchange.call(call)) == 3


@table("call", [*SAFE[:-5], *UNSAFE, admin_calls.config()])
@table("body", [b"<html>", b"{}", b"[]", b"7"])
def test_an_answer_of_something_else_is_a_fault(call: Call[object], body: bytes) -> None:
    stage = Stage([Response(200, {}, body)])
    with pytest.raises(ServerFault):
        stage.play(stage.exchange.call(call))


def test_members_that_a_later_server_adds_are_left_alone() -> None:
    answer = document(topics=[row("a", more=1)], cursor=None, missing=[], other=2)
    stage = Stage([answer])
    assert [each.topic for each in stage.play(stage.exchange.call(admin_calls.topic_page()))] == ["a"]


def test_topics_and_who_holds_them(admin: Admin, client: Client, topic: str) -> None:
    names = [f"{topic}/{n:02}" for n in range(25)]
    for name in names:
        client.subscribe(name, "ann")
    assert [each.topic for each in admin.topics(f"{topic}/", page=7)] == names
    assert {each.broker for each in admin.topics(f"{topic}/")} == {"b0", "b1"}
    client.subscribe(names[0], "bob")
    client.publish(names[0], "a")
    client.publish(names[0], "b")
    client.receive(names[0], "bob")
    found = admin.topic(names[0])
    assert (found.messages, found.subscriptions, found.next_seq, found.head_seq) == (2, 2, 3, 1)
    assert (found.oldest_held_by, found.oldest_held_by_more) == (("ann",), False)
    with pytest.raises(NotFound, match="no-topic"):
        admin.topic(f"{topic}-none")


def test_settings_of_a_topic(admin: Admin, client: Client, topic: str) -> None:
    client.subscribe(topic, "ann")
    changed = admin.change_topic(topic, max_messages=1, max_age=2.5, overflow="drop-oldest")
    assert changed.own_settings == TopicSettings(1, None, 2.5, "drop-oldest")
    assert changed.settings.max_bytes is not None
    changed = admin.change_topic(topic, max_age="default", overflow="reject")
    assert changed.own_settings == TopicSettings(1, None, None, "reject")
    client.publish(topic, "x")
    with pytest.raises(Refused):
        client.publish(topic, "y")
    with pytest.raises(BadRequest, match="max_messages"):
        admin.change_topic(topic, max_messages=-1)


def test_subscriptions_and_what_waits(admin: Admin, client: Client, topic: str) -> None:
    for user in ("ann", "bob", "cem"):
        client.subscribe(topic, user, max_deliveries=3, expires_after=60)
    client.publish_many(topic, ["a", b"\xff"], type="text/plain", headers={"Meta-A": "1"})
    lent = client.receive(topic, "bob", lease=30)
    assert [(each.user, each.pending) for each in admin.subscriptions(topic, page=2)] == [
        ("ann", 2),
        ("bob", 1),
        ("cem", 2),
    ]
    bob = admin.subscription(topic, "bob")
    assert (bob.leased, bob.dead, bob.expires_after, bob.max_deliveries) == (1, 0, 60.0, 3)
    looked = admin.peek(topic, "bob")
    assert [(each.state, each.body, each.attempt, each.type) for each in looked] == [
        ("leased", b"a", 1, "text/plain"),
        ("waiting", b"\xff", 0, "text/plain"),
    ]
    assert lent is not None
    assert (looked[0].id, looked[0].headers, looked[0].topic, looked[0].user) == (
        lent.id,
        {"meta-a": "1"},
        topic,
        "bob",
    )
    assert len(admin.peek(topic, "ann", 1)) == 1
    assert admin.purge(topic, "bob") == 2
    assert admin.peek(topic, "bob") == ()
    assert client.status(topic, "ann").pending == 2
    with pytest.raises(NotFound, match="no-subscription"):
        admin.peek(topic, "nobody")
    assert admin.end_topic(topic) == 3
    with pytest.raises(NotFound):
        admin.end_topic(topic)


def test_brokers_and_the_pause(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=2, fronts=1)
    with Admin(f"http://127.0.0.1:{cluster.fronts[0].ops_port}") as admin:
        assert [(each.id, each.state) for each in admin.brokers()] == [("b0", "up"), ("b1", "up")]
        assert sum(each.slots for each in admin.brokers()) == 1024
        assert admin.brokers()[0].stats["messages"] == 0
        admin.pause("b1")
        assert [each.state for each in admin.brokers()] == ["up", "paused"]
        admin.resume("b1")
        assert [each.state for each in admin.brokers()] == ["up", "up"]
        with pytest.raises(NotFound, match="no-broker"):
            admin.pause("b7")
        assert admin.config().settings["ops_port"] == 0
        cluster.brokers["b1"].kill()
        wait_for(lambda: [each.state for each in admin.brokers()] == ["up", "down"])
        with pytest.raises(Unavailable, match="b1"):
            list(admin.topics())


def test_asyncio_has_the_same(cluster: Cluster, client: Client, topic: str) -> None:
    async def main() -> None:
        async with AsyncAdmin(f"http://127.0.0.1:{cluster.fronts[0].ops_port}") as admin:
            assert [each.topic async for each in admin.topics(topic)] == [topic]
            assert [each.user async for each in admin.subscriptions(topic)] == ["ann"]
            assert (await admin.topic(topic)).subscriptions == 1
            assert await admin.purge(topic, "ann") == 1
            assert [each.messages async for each in admin.delayed(topic)] == [1]
            assert topic in [each.topic async for each in admin.delayed_topics()]

    client.subscribe(topic, "ann")
    client.publish(topic, "x")
    client.publish(topic, "x", delay=3600)
    asyncio.run(main())


def test_a_purge_whose_answer_is_lost_is_not_done_twice(cluster: Cluster, client: Client, topic: str) -> None:
    client.subscribe(topic, "ann")
    with Proxy(cluster.fronts[0].ops_port, first(1, SWALLOW, "DELETE")) as proxy, Admin(proxy.url) as admin:
        with pytest.raises(OutcomeUnknown):
            admin.purge(topic, "ann")
        assert len(proxy.seen) == 1
    with Proxy(cluster.fronts[0].ops_port, first(2, REFUSE, "DELETE")) as proxy, Admin(proxy.url) as admin:
        assert admin.purge(topic, "ann") == 0
        assert len(proxy.seen) == 3


def test_it_sends_its_key(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy(cluster.fronts[0].ops_port, key="fm_ops_x") as proxy:
        monkeypatch.setenv("FANMAIL_OPS_URL", proxy.url)
        assert Admin(api_key="fm_ops_x").brokers()
        with pytest.raises(Denied):
            Admin().brokers()
    with Proxy(cluster.fronts[0].ops_port, lambda *_: FORBID) as proxy, pytest.raises(Denied):
        list(Admin(proxy.url).topics())


def test_delayed_publishes_are_listed_and_removed(admin: Admin, client: Client, topic: str) -> None:
    for number in range(3):
        client.publish(topic, f"{number}", delay=3600, ttl=60, type="text/plain", headers={"Meta-N": str(number)})
    client.publish_many(topic, ["a", b"\xff"], delay=7200)
    (row,) = [each for each in admin.delayed_topics(page=1) if each.topic == topic]
    assert (row.publishes, row.memory > 2000) == (4, True)
    listed = list(admin.delayed(topic, page=1))
    assert [(each.messages, each.ttl, each.first) for each in listed] == [(1, 60.0, ())] * 3 + [(2, 0.0, ())]
    assert listed[0].due < listed[3].due
    first = admin.one_delayed(topic, listed[1].id)
    assert (first.first, first.type, first.headers) == ((b"1",), "text/plain", {"meta-n": "1"})
    assert admin.one_delayed(topic, listed[3].id).first == (b"a", b"\xff")
    admin.remove_delayed(topic, listed[1].id)
    for call in (admin.remove_delayed, admin.one_delayed):
        with pytest.raises(NotFound):
            call(topic, listed[1].id)
    assert admin.remove_all_delayed(topic) == 3
    assert list(admin.delayed(topic)) == []


def test_a_removal_whose_answer_was_lost_is_done() -> None:
    stage = Stage([RESET, problem(404, "no-delayed")])
    stage.play(stage.exchange.call(admin_calls.remove_delayed("t", "1-2")))
    assert stage.targets == ["DELETE /-/v1/topics/t/delayed/1-2"] * 2
