"""WebSocket sessions against real brokers."""

from __future__ import annotations

from tests.conftest import StartCluster
from tests.e2e.cluster import Cluster
from tests.support.web_socket import WebSocket, message


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
        here.ask("subscribe", topic="again-in-a-session", user="ann")
        for number in range(5):
            here.ask("publish", topic="again-in-a-session", text=str(number))
        here.ask("read", topic="again-in-a-session", user="ann", window=3)
        seen = [here.next() for _ in range(3)]
        here.op("ack", topic="again-in-a-session", user="ann", id=seen[1]["id"])
        assert [here.next()["text"] for _ in range(2)] == ["3", "4"]
    with WebSocket(port, "/again-in-a-session/ann?window=2") as here:
        assert [here.next()["text"] for _ in range(2)] == ["2", "3"]


def test_leases_that_are_out_are_given_back_at_the_end(cluster: Cluster) -> None:
    port = cluster.fronts[0].port
    with WebSocket(port) as here:
        here.ask("subscribe", topic="leased", user="crew")
        for number in range(6):
            here.ask("publish", topic="leased", text=str(number))
        here.ask("read", topic="leased", user="crew", mode="lease", lease=600)
        seen = [here.next() for _ in range(6)]
        assert [(each["text"], each["attempt"]) for each in seen] == [(str(number), 1) for number in range(6)]
        assert here.ask("ack", topic="leased", user="crew", receipt=seen[0]["receipt"])["op"] == "ok"
        here.ask("nack", topic="leased", user="crew", receipt=seen[3]["receipt"], delay=600)
        here.op("nack", topic="leased", user="crew", receipt=seen[4]["receipt"])
        seen.append(here.next())
        together = [seen[number]["receipt"] for number in (5, 4, 0, 6, 6)]
        assert here.ask("ack", topic="leased", user="crew", receipts=together)["lost"] == [seen[4]["receipt"]]
        assert "lost" not in here.ask("ack", topic="leased", user="crew", receipts=together[2:])
    with WebSocket(port, "/leased/crew?mode=lease") as here:
        assert [(each["text"], each["attempt"]) for each in (here.next(), here.next())] == [("1", 2), ("2", 2)]


def test_large_messages_come_through_in_every_mode(cluster: Cluster) -> None:
    front = cluster.fronts[0]
    with WebSocket(front.port) as here:
        for mode in ("after", "lease", "take"):
            here.ask("subscribe", topic="large-in-a-session", user=mode)
        texts = ["a", "€" * 300_000, "b", "x" * 200_000, "c"]
        for text in texts:
            assert here.ask("publish", topic="large-in-a-session", text=text)["subscribers"] == 3
        for mode in ("after", "lease", "take"):
            assert here.ask("read", topic="large-in-a-session", user=mode, mode=mode, window=5)["op"] == "ok"
            for text in texts:
                found = here.next()
                assert (found["user"], found["text"]) == (mode, text)
                if mode == "after":  # over 256 KiB are unconfirmed, and the next one waits
                    here.op("ack", topic="large-in-a-session", user=mode, id=found["id"])
                elif mode == "lease":
                    here.op("ack", topic="large-in-a-session", user=mode, receipt=found["receipt"])


def test_a_read_ends_with_its_subscription(cluster: Cluster) -> None:
    web = cluster.fronts[0].web
    for mode in ("after", "lease", "take"):
        web.subscribe("ending", mode)
        with WebSocket(cluster.fronts[0].port, f"/ending/{mode}?mode={mode}") as here:
            assert here.ask("stop", topic="ending", user="-")["op"] == "ok"
            web.unsubscribe("ending", mode)
            ended = here.next()
            assert (ended["op"], ended["user"], ended["code"]) == ("end", mode, "no-subscription")
            assert here.ask("read", topic="ending", user=mode)["status"] == 404
            assert here.ask("subscribe", topic="ending", user=mode)["created"] is True
            assert here.ask("read", topic="ending", user=mode)["op"] == "ok"
            web.publish("ending", b"\xff")
            assert here.next()["base64"] == "/w=="


def test_a_front_that_stops_says_so_and_gives_leases_back(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=2)
    stopping, other = cluster.fronts
    other.web.subscribe("stop", "crew")
    other.web.publish("stop", b"job")
    with WebSocket(stopping.port, "/stop/crew?mode=lease&lease=600") as here:
        assert here.next()["attempt"] == 1
        here.send(*(message(op="publish", topic="stop", text=str(number), ref=number) for number in range(50)))
        assert here.next()["ref"] == 0
        assert stopping.process.terminate() == 0
        assert here.closed() == (1001, "draining: this front is stopping")
    (line,) = [each for each in stopping.process.events() if each.get("status") == 101]
    assert (line["stream_ended"], line["route"]) == ("draining", "/{topic}/{user}")
    with WebSocket(other.port, "/stop/crew?mode=lease") as there:
        found = there.next()
        assert (found["text"], found["attempt"]) == ("job", 2)
