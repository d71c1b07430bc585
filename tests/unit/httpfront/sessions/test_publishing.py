"""What a session publishes: what goes to the broker together, in which order, and who gets which answer."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
from msgspec import Raw

from common.errors import FanmailError
from common.protocol import ops, wire
from common.protocol.ops import OPS, Op
from httpfront.gateway.call import Answer
from httpfront.gateway.gateway import Gateway
from httpfront.sessions.operations import Publish
from httpfront.sessions.publishing import Publishing
from httpfront.sessions.table import SessionLimits
from tests.support.table import table

EPOCH = "0badcafe1"
LARGE = "L" * wire.LARGE_BODY


class Owner:
    """A session, and a gateway whose broker answers when it is told to."""

    limits = SessionLimits(2**20, 256)
    request_id = "r"
    result_of = Gateway.result_of

    def __init__(self, most: int = 3, most_bytes: int = 100) -> None:
        self.gateway: Any = self
        self.publishing = Publishing(self, most, most_bytes)  # type: ignore[arg-type]
        self.asked: list[tuple[bytes, Any, Any]] = []
        self.answers: list[dict[str, Any]] = []
        self.under_way = self.held = 0
        self.down = False

    def publish(self, *texts: str, topic: str = "t", refs: bool = True, **members: Any) -> None:
        for text in texts:
            op = Publish(topic=topic, text=text, ref=text[:9] if refs else None, **members)
            self.publishing.publish(op, 10)

    def start_publish(self, op: Op, topic: bytes, args: Any, body: bytes | None, waiting: Any, of_request: str) -> None:
        if self.down:
            raise FanmailError("broker-down", "away")
        assert isinstance(args, OPS[op].args)
        args.body = body or args.body
        self.asked.append((topic, args, waiting))

    def answer(self, number: int, answer: Any) -> None:
        """Let the broker answer one request, with a result or an error."""
        failed = isinstance(answer, FanmailError)
        packed = Answer(answer) if failed else Answer(None, Raw(wire.pack_result(answer)))
        self.asked[number][2].switch(packed)

    def began(self, size: int) -> None:
        self.under_way, self.held = self.under_way + 1, self.held + size

    def done(self, size: int, count: int = 1) -> None:
        self.under_way, self.held = self.under_way - count, self.held - size

    def send(self, text: bytes) -> None:
        self.send_all([text])

    def send_all(self, texts: list[bytes]) -> None:
        self.answers += map(msgspec.json.decode, texts)

    def sent(self) -> list[tuple[bytes, list[bytes]]]:
        """Return topic and bodies of each request so far."""
        return [(topic, bodies_of(args)) for topic, args, _ in self.asked]


def bodies_of(args: ops.Publish | ops.PublishApart) -> list[bytes]:
    if isinstance(args, ops.Publish):
        assert (args.count, args.offsets) == (1, b"")
        return [args.body]
    starts = memoryview(args.offsets).cast("I").tolist()
    parts = [args.body[start:end] for start, end in pairwise(starts)]
    assert [int.from_bytes(part[:4], "big") for part in parts] == [len(part) - 4 for part in parts]
    assert len(parts) == args.count
    return [part[4:] for part in parts]


def test_what_arrives_in_one_turn_goes_together_by_topic_and_headers() -> None:
    owner = Owner()
    owner.publish("1", "2")
    owner.publish("a", topic="other")
    owner.publish("3")
    owner.publish("4", type="text/plain")
    owner.publish("5", type="text/plain", ttl=9.0)
    assert owner.sent() == [(b"t", [b"1", b"2", b"3"]), (b"t", [b"4"])]
    owner.publishing.flush()
    assert owner.sent()[2:] == [(b"other", [b"a"]), (b"t", [b"5"])]
    assert [args.ttl for _, args, _ in owner.asked] == [0, 0, 0, 9000]
    owner.publishing.flush()
    assert len(owner.asked) == 4


@table(
    ("texts", "parts"),
    [
        (["1", "2", "3", "4"], [3, 1]),
        (["x" * 50, "y" * 50, "z"], [2, 1]),
        (["x" * 51, "y" * 50], [1, 1]),
        (["1", "x" * 101, "2"], [1, 1, 1]),
    ],
)
def test_a_request_has_at_most_so_many_messages_and_bytes(texts: list[str], parts: list[int]) -> None:
    owner = Owner()
    owner.publish(*texts)
    owner.publishing.flush()
    assert [len(bodies) for _, bodies in owner.sent()] == parts
    assert [body.decode() for _, bodies in owner.sent() for body in bodies] == texts


def test_what_has_a_delay_goes_alone_and_in_its_place() -> None:
    owner = Owner()
    owner.publish("1", "2")
    owner.publish("3", delay=5.0)
    owner.publish("4")
    owner.publishing.flush()
    assert [bodies for _, bodies in owner.sent()] == [[b"1", b"2"], [b"3"], [b"4"]]


def test_keys_go_with_their_messages() -> None:
    owner = Owner()
    owner.publish("1")
    owner.publish("2", key="k")
    owner.publishing.flush()
    owner.publish("2", key="k")
    owner.publishing.flush()
    (_, together, _), (_, alone, _) = owner.asked
    assert together.keys == [b"", b"k"]
    assert (alone.key, alone.digest) == (b"k", together.digests[1])
    assert len(alone.digest) == 16


def test_each_publish_has_its_own_answer() -> None:
    owner = Owner()
    owner.publish("1", "2")
    owner.publish("3", refs=False)
    owner.publishing.flush()
    assert (owner.under_way, owner.held, owner.answers) == (3, 30, [])
    owner.answer(0, ops.PublishedApart(2, EPOCH, 7))
    same = {"op": "ok", "subscribers": 2}
    assert owner.answers == [same | {"ref": "1", "id": f"{EPOCH}-7"}, same | {"ref": "2", "id": f"{EPOCH}-8"}]
    assert (owner.under_way, owner.held) == (0, 0)


def test_what_is_refused_or_a_repeat_takes_no_number() -> None:
    owner = Owner(most=4)
    owner.publish("1", "2", "3", "4")
    owner.publishing.flush()
    owner.answer(0, ops.PublishedApart(1, EPOCH, 7, [(1, "topic-full", "why")], [(2, 5, 3)]))
    assert owner.answers == [
        {"op": "ok", "ref": "1", "subscribers": 1, "id": f"{EPOCH}-7"},
        {"op": "error", "ref": "2", "code": "topic-full", "status": 429, "detail": "why", "retry_after": 1},
        {"op": "ok", "ref": "3", "subscribers": 5, "id": f"{EPOCH}-3", "replayed": True},
        {"op": "ok", "ref": "4", "subscribers": 1, "id": f"{EPOCH}-8"},
    ]
    assert (owner.under_way, owner.held) == (0, 0)


def test_without_subscribers_there_is_no_id() -> None:
    owner = Owner()
    owner.publish("1", "2")
    owner.publishing.flush()
    owner.answer(0, ops.PublishedApart(0, "", 0))
    assert owner.answers == [{"op": "ok", "ref": ref, "subscribers": 0} for ref in "12"]


def test_an_error_of_the_broker_is_that_of_each() -> None:
    owner = Owner()
    owner.publish("1", "2")
    owner.publish("3", refs=False)
    owner.publishing.flush()
    owner.answer(0, FanmailError("outcome-unknown", "silence"))
    told = [(each.get("ref"), each.get("topic"), each["code"]) for each in owner.answers]
    assert told == [("1", None, "outcome-unknown"), ("2", None, "outcome-unknown"), (None, "t", "outcome-unknown")]
    owner.down = True
    owner.publish("4")
    owner.publishing.flush()
    assert owner.answers[3]["code"] == "broker-down"
    assert (owner.under_way, owner.held) == (0, 0)


def test_nothing_overtakes_a_large_body() -> None:
    owner = Owner()
    owner.publish("1", LARGE, "2", "3", LARGE, "4")
    owner.publish("x", topic="other")
    owner.publishing.flush()
    assert [bodies[0][:1] for _, bodies in owner.sent()] == [b"1", b"L", b"x"]
    owner.answer(1, ops.Published(1, EPOCH, 2))
    assert [[body[:1] for body in bodies] for _, bodies in owner.sent()[3:]] == [[b"2", b"3"], [b"L"]]
    owner.answer(4, FanmailError("topic-full", "why"))
    assert owner.sent()[5:] == [(b"t", [b"4"])]
