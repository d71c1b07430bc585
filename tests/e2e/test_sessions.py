"""WebSocket sessions against real brokers."""

from __future__ import annotations

from tests.e2e.cluster import Cluster
from tests.support.web_socket import WebSocket


def test_one_connection_publishes_and_reads_many_mailboxes(cluster: Cluster) -> None:
    with WebSocket(cluster.fronts[0].port) as here:
        for user in ("ann", "bob"):
            assert here.ask("subscribe", topic="many", user=user) == {"op": "ok", "ref": "asked", "created": True}
            answer = here.ask("read", topic="many", user=user)
            assert answer.keys() == {"op", "ref", "position"}
        for number in range(3):
            here.op("publish", topic="many", text=f"é{number}", type="text/plain", meta={"meta-n": str(number)})
        got = sorted((each["user"], each["text"], each["meta"]["meta-n"]) for each in (here.next() for _ in range(6)))
        assert got == [(user, f"é{n}", str(n)) for user in ("ann", "bob") for n in range(3)]


def test_pipelined_publishes_are_stored_in_order(cluster: Cluster) -> None:
    with WebSocket(cluster.fronts[0].port) as here:
        here.ask("subscribe", topic="pipe", user="ann")
        for number in range(500):
            here.op("publish", topic="pipe", text="x" * (20_000 if number % 50 == 0 else 1) + str(number), ref=number)
        answers = [here.next() for _ in range(500)]
        assert [each["ref"] for each in answers] == list(range(500))
        numbers = [int(each["id"].partition("-")[2]) for each in answers]
        assert numbers == list(range(numbers[0], numbers[0] + 500))
        here.ask("read", topic="pipe", user="ann", mode="take", window=1000)
        assert [here.next()["text"].lstrip("x") for _ in range(500)] == [str(number) for number in range(500)]


def test_what_is_not_acknowledged_comes_again(cluster: Cluster) -> None:
    port = cluster.fronts[0].port
    with WebSocket(port) as here:
        here.ask("subscribe", topic="again", user="ann")
        for number in range(5):
            here.ask("publish", topic="again", text=str(number))
        here.ask("read", topic="again", user="ann", window=3)
        seen = [here.next() for _ in range(3)]
        here.op("ack", topic="again", user="ann", id=seen[1]["id"])
        assert [here.next()["text"] for _ in range(2)] == ["3", "4"]
    with WebSocket(port, "/again/ann?window=2") as here:
        assert [here.next()["text"] for _ in range(2)] == ["2", "3"]


def test_leases_that_are_out_are_given_back_at_the_end(cluster: Cluster) -> None:
    port = cluster.fronts[0].port
    with WebSocket(port) as here:
        here.ask("subscribe", topic="leased", user="crew")
        for number in range(4):
            here.ask("publish", topic="leased", text=str(number))
        here.ask("read", topic="leased", user="crew", mode="lease", lease=600)
        seen = [here.next() for _ in range(4)]
        assert [(each["text"], each["attempt"]) for each in seen] == [("0", 1), ("1", 1), ("2", 1), ("3", 1)]
        assert here.ask("ack", topic="leased", user="crew", receipt=seen[0]["receipt"])["op"] == "ok"
        here.ask("nack", topic="leased", user="crew", receipt=seen[3]["receipt"], delay=600)
    with WebSocket(port, "/leased/crew?mode=lease") as here:
        assert [(each["text"], each["attempt"]) for each in (here.next(), here.next())] == [("1", 2), ("2", 2)]
