"""Between hosts: peers without a listed key get nothing from a broker, whatever they send, and do not affect others."""

from __future__ import annotations

import random
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import zmq

from common.keys.curve import new_pair
from common.protocol import wire
from common.protocol.ops import Op, Ping
from tests.conftest import StartCluster
from tests.e2e.cluster import PATIENCE, Cluster, Front, wait_for
from tests.e2e.curve import Tap, describe, make_keys, options_for, pair_of, put

SEED = 23
HALF_OPEN = 1500
MIB = 1024 * 1024
MOST_EACH = 64 * 1024
"""Bytes of memory that a half-open connection may cost the broker."""
SIGNATURE = b"\xff" + bytes(8) + b"\x7f"
CURVE_GREETING = SIGNATURE + b"\x03\x01CURVE" + bytes(15) + b"\x00" + bytes(31)
PING = wire.pack_requests(0, 1, [wire.pack_request(1, Op.PING, b"", b"", 0, Ping("fanmail", "b0"))])
PONG = b"\xa7fanmail\xa2b0"
"""Parts of its reply: the names of the cluster and of the broker."""


@pytest.fixture(scope="module")
def _target() -> Iterator[Cluster]:
    cluster = Cluster(brokers=1, fronts=1, curve=True)
    yield cluster
    cluster.close()


@pytest.fixture
def target(_target: Cluster) -> Iterator[Cluster]:
    """Yield a cluster, which every test must leave unchanged."""
    web = _target.fronts[0].web
    web.subscribe("mine", "ann")
    before = _target.held()
    yield _target
    assert _target.brokers["b0"].running
    assert web.publish("mine", b"alive").headers["Msg-Subscribers"] == "1"
    assert web.drain("mine", "ann") == [b"alive"]
    assert _target.held() == before
    assert "Traceback" not in _target.brokers["b0"].log()


def refused(cluster: Cluster, why: str) -> int:
    return cluster.stats("b0").get(f"refused.{why}", 0)


def address_of(cluster: Cluster) -> tuple[str, int]:
    host, _, port = cluster.map.endpoint("b0").removeprefix("tcp://").rpartition(":")
    return host, int(port)


def nothing(cluster: Cluster) -> dict[str, Any]:
    return {}


def a_password(cluster: Cluster) -> dict[str, Any]:
    return {"PLAIN_USERNAME": b"front", "PLAIN_PASSWORD": pair_of(cluster.keys, "front").public}


def an_unlisted_key(cluster: Cluster) -> dict[str, Any]:
    return options_for(new_pair(), cluster.map.address("b0").key)


def the_key_of_the_broker(cluster: Cluster) -> dict[str, Any]:
    return options_for(pair_of(cluster.keys, "b0"), cluster.map.address("b0").key)


def a_listed_key_for_another_broker(cluster: Cluster) -> dict[str, Any]:
    return options_for(pair_of(cluster.keys, "front"), new_pair().public.decode())


def somebody_else_listed(cluster: Cluster) -> dict[str, Any]:
    """Return the public key of a front without its secret key."""
    return options_for(new_pair()._replace(public=pair_of(cluster.keys, "front").public), cluster.map.address("b0").key)


@pytest.mark.parametrize(
    ("knock", "why"),
    [
        (nothing, "handshake"),
        (a_password, "handshake"),
        (an_unlisted_key, "key"),
        (the_key_of_the_broker, "key"),
        (a_listed_key_for_another_broker, "handshake"),
        (somebody_else_listed, "handshake"),
    ],
)
def test_a_stranger_gets_no_answer(target: Cluster, knock: Callable[[Cluster], dict[str, Any]], why: str) -> None:
    before = refused(target, why)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    stranger = context.socket(zmq.DEALER)
    stranger.setsockopt(zmq.LINGER, 0)
    for name, value in knock(target).items():
        stranger.setsockopt(getattr(zmq, name), value)
    try:
        stranger.connect(target.map.endpoint("b0"))
        stranger.send(PING)  # queued, and sent if it is admitted
        wait_for(lambda: refused(target, why) > before, "the broker to refuse")
        assert not stranger.poll(200)
    finally:
        stranger.close()
        context.term()


def test_the_same_with_a_listed_key_is_answered(target: Cluster) -> None:
    """Control of the test above."""
    with target.peer("b0") as peer:
        assert peer.ping().broker == "b0"


@pytest.mark.slow
def test_who_is_refused_is_logged_without_keys(target: Cluster) -> None:
    with ExitStack() as stack:
        for _ in range(5):
            peer = stack.enter_context(target.peer("b0", **an_unlisted_key(target)))
            peer.socket.send(PING)
        lines = wait_for(
            lambda: [
                each
                for each in target.brokers["b0"].events()
                if each["event"] == "connections refused" and each["unlisted_keys_from"]
            ],
            "a line about strangers",
        )
    assert lines[0]["unlisted_keys_from"] == ["127.0.0.1"]
    for name in ("b0", "front"):
        for half in pair_of(target.keys, name):
            assert half.decode() not in target.about()


def handshakes_of_older_versions() -> list[bytes]:
    """Return handshakes of ZMTP 1.0 and 2.0, which have no security, each followed by a PING."""
    return [
        b"\x01\x00" + bytes([len(PING) + 1, 0]) + PING,
        SIGNATURE + b"\x01\x05\x00\x00" + bytes([0, len(PING)]) + PING,
    ]


@pytest.mark.parametrize("number", [0, 1])
def test_older_versions_are_answered_where_there_are_no_keys(cluster: Cluster, number: int) -> None:
    """Control of the next test: libzmq still speaks these versions, and the bytes are right."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(10)
        raw.connect(cluster.map.endpoint("b0").removeprefix("ipc://"))
        raw.sendall(handshakes_of_older_versions()[number])
        seen = b""
        while PONG not in seen:
            part = raw.recv(4096)
            assert part, seen
            seen += part


def test_raw_bytes_and_older_versions_of_the_protocol(target: Cluster) -> None:
    rng = random.Random(SEED)
    beginnings = [b"", b"GET / HTTP/1.1\r\n\r\n", SIGNATURE, CURVE_GREETING, *handshakes_of_older_versions()]
    beginnings += [
        CURVE_GREETING + b"\x04\xc8\x05HELLO\x01\x00" + rng.randbytes(193),
        CURVE_GREETING + b"\x06" + b"\xff" * 8,
    ]
    for n in range(200):
        with socket.create_connection(address_of(target), 5) as raw:
            try:
                raw.sendall(beginnings[n % len(beginnings)] + rng.randbytes(rng.choice([0, 1, 64, 10_000])))
                if n % 3 == 0:
                    raw.shutdown(socket.SHUT_WR)
                if beginnings[n % len(beginnings)] in handshakes_of_older_versions():
                    raw.settimeout(10)
                    assert PONG not in received(raw)
            except OSError:
                pass  # the broker has closed it already
    assert target.stats("b0").get("errors.wire", 0) == 0


def received(raw: socket.socket) -> bytes:
    """Return everything received until the other side closes, or resets because it has not read everything."""
    parts = []
    with suppress(ConnectionResetError):
        while part := raw.recv(4096):
            parts.append(part)
    return b"".join(parts)


def rss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


@pytest.mark.slow
def test_half_open_handshakes_cost_little_and_are_closed(target: Cluster) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * HALF_OPEN), hard))
    broker, web = target.brokers["b0"], target.fronts[0].web
    before = rss(broker.pid)
    try:
        with ExitStack() as stack:
            held = []
            for n in range(HALF_OPEN):
                raw = stack.enter_context(socket.create_connection(address_of(target), 30))
                raw.sendall(CURVE_GREETING[: 10 if n % 2 else 64])
                held.append(raw)
                if n % 500 == 0:
                    assert web.publish("mine", b"x").status == 200
                    assert web.take("mine", "ann").body == b"x"
            assert rss(broker.pid) - before < HALF_OPEN * MOST_EACH
            for raw in held:
                raw.settimeout(20)
                received(raw)  # until the broker closes it
        assert web.publish("mine", b"x").status == 200
        assert web.take("mine", "ann").body == b"x"
        with target.peer("b0") as peer:
            assert peer.ping().broker == "b0"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_strangers_send_is_freed(target: Cluster) -> None:
    """ZeroMQ takes in a frame before it knows who sends it, and closes the connection when it has the whole frame."""
    broker, web = target.brokers["b0"], target.fronts[0].web
    before = rss(broker.pid)
    frame = CURVE_GREETING + b"\x06" + (8 * MIB + 1).to_bytes(8, "big") + bytes(8 * MIB)
    fair = 20 * 8 * MIB // 4
    with ExitStack() as stack:
        strangers = [stack.enter_context(socket.create_connection(address_of(target), 30)) for _ in range(20)]
        for raw in strangers:
            raw.sendall(frame)  # a byte is missing
        wait_for(lambda: rss(broker.pid) - before > fair, "the control: the frames to arrive")
        assert web.publish("mine", b"x").status == 200
        assert web.take("mine", "ann").body == b"x"
        for raw in strangers:
            raw.sendall(b"x")
        for raw in strangers:
            received(raw)  # until the broker has closed it
        wait_for(lambda: rss(broker.pid) - before < fair, "the broker to free the frames")


def other_front(cluster: Cluster, folder: Path, text: str, key: str, **settings: object) -> Front:
    """Start a front with a description and a key of its own."""
    folder.mkdir(0o700)
    (folder / "cluster.toml").write_text(text)
    (folder / "front.key").write_bytes((cluster.keys / f"{key}.key").read_bytes())
    (folder / "front.key").chmod(0o600)
    return cluster.start_front(run_dir=folder, curve_dir=folder, **settings)


def with_another_front(cluster: Cluster) -> tuple[str, str]:
    """Return descriptions with a further front `web2`, whose key is in `keys` then, and without it."""
    keys = make_keys(cluster.keys, "--front", "web2")
    address = cluster.map.address("b0")
    brokers = {"b0": (address.endpoint, address.key)}
    return describe(brokers, cluster.map.fronts | keys), describe(brokers, cluster.map.fronts)


def test_a_front_that_expects_another_broker_shows_it_down(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1, curve=True)
    wrong = describe({"b0": (cluster.map.endpoint("b0"), new_pair().public.decode())}, cluster.map.fronts)
    front = other_front(cluster, cluster.folder / "other", wrong, "front")
    wait_for(lambda: front.process.event("connection refused"), "the front to log it")
    assert not front.ready()
    assert front.web.subscribe("t", "ann").code == "broker-down"
    before = refused(cluster, "handshake")
    wait_for(lambda: refused(cluster, "handshake") > before + 1, "it to try again")
    events = [each for each in front.process.events() if each["event"] == "connection refused"]
    assert [each["broker"] for each in events] == ["b0"], "and once per minute in the log"
    assert cluster.fronts[0].web.subscribe("t", "ann").status == 200

    put(cluster.folder / "other" / "cluster.toml", cluster.description.read_text().replace("epoch = 1", "epoch = 2"))
    wait_for(front.ready, "the front to take the right key")


def test_a_front_without_keys_at_a_broker_with_one_connects_when_it_is_told(start_cluster: StartCluster) -> None:
    """Cover a cluster that gets its keys: the broker was restarted, and the front still has the old description."""
    cluster = start_cluster(brokers=1, fronts=0, curve=True)
    folder = cluster.folder / "other"
    old = f'[[brokers]]\nid = "b0"\nendpoint = "{cluster.map.endpoint("b0")}"\n'
    front = other_front(cluster, folder, old, "front", insecure=True)
    wait_for(lambda: front.process.event("connection refused"), "the front to log it")
    assert front.web.subscribe("t", "ann").code == "broker-down"
    put(folder / "cluster.toml", cluster.description.read_text().replace("epoch = 1", "epoch = 2"))
    wait_for(front.ready, "the front to use its key")


@pytest.mark.slow
def test_who_listens_on_the_way_reads_nothing_and_can_repeat_nothing(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=0, curve=True)
    tap = Tap(address_of(cluster))
    try:
        address = cluster.map.address("b0")
        text = describe({"b0": (tap.endpoint, address.key)}, cluster.map.fronts)
        web = other_front(cluster, cluster.folder / "other", text, "front").web
        wait_for(lambda: web.subscribe("tapped-topic", "ann").status == 200, "the front to be connected")
        assert web.publish("tapped-topic", b"tapped-body").status == 200
        assert web.take("tapped-topic", "ann").body == b"tapped-body"
        assert len(tap.sent) > 500
        assert len(tap.returned) > 500
        for word in (b"tapped-", b"ann", pair_of(cluster.keys, "front").public):
            assert word not in tap.sent + tap.returned

        before = cluster.stats("b0")
        with socket.create_connection(address_of(cluster), 10) as raw:
            with suppress(ConnectionResetError, BrokenPipeError):
                raw.sendall(bytes(tap.sent))
            received(raw)  # until the broker has closed it
        wait_for(lambda: refused(cluster, "handshake") > before.get("refused.handshake", 0), "it to be refused")
        after = cluster.stats("b0")
        assert {name: after[name] for name in ("published", "SUBSCRIBE", "TAKE")} == {
            name: before[name] for name in ("published", "SUBSCRIBE", "TAKE")
        }
    finally:
        tap.close()


@pytest.mark.slow
def test_a_front_is_taken_out_and_put_back(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1, curve=True)
    broker, web = cluster.brokers["b0"], cluster.fronts[0].web
    both, one = with_another_front(cluster)
    put(cluster.description, both)
    broker.signal(signal.SIGHUP)
    wait_for(lambda: broker.event("fronts that may connect have changed"), "the broker to read it")
    front = other_front(cluster, cluster.folder / "other", both, "web2")
    wait_for(front.ready, "the new front")
    assert front.web.subscribe("t", "ann").status == 200
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(cluster.fronts[0].web.call("GET", "/t/ann?wait=30")))
    waiting.start()
    wait_for(lambda: cluster.waiters() == 1, "the long poll")

    put(cluster.description, one)
    broker.signal(signal.SIGHUP)
    wait_for(lambda: not front.ready(), "the front to be cut off")
    assert front.web.publish("t", b"from outside").status in (503, 504)
    assert refused(cluster, "removed") > 0
    front.process.kill()
    again = cluster.start_front(run_dir=cluster.folder / "other", curve_dir=cluster.folder / "other")
    refusal = wait_for(lambda: again.process.event("connection refused"), "its next handshake to be refused")
    assert "admit" in refusal["why"]
    assert web.publish("t", b"from inside").headers["Msg-Subscribers"] == "1"
    waiting.join()
    assert [(each.status, each.body) for each in answers] == [(200, b"from inside")], "the other one noticed nothing"

    put(cluster.description, both)
    broker.signal(signal.SIGHUP)
    wait_for(again.ready, "the front to be let in again")
    assert again.web.publish("t", b"x").headers["Msg-Subscribers"] == "1"


def test_an_unusable_description_changes_nothing(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1, curve=True)
    broker, text = cluster.brokers["b0"], cluster.description.read_text()
    for bad in ("[[brokers]", text[: text.index("[[fronts]]")], text.replace('name = "front"', 'name = "a b"')):
        lines = len(broker.events())
        put(cluster.description, bad)
        broker.signal(signal.SIGHUP)
        wait_for(lambda lines=lines: len(broker.events()) > lines, "the broker to complain")
        assert broker.events()[-1]["event"] == "the newer cluster description cannot be used"
    put(cluster.description, text)
    with cluster.peer("b0") as peer:
        assert peer.ping().broker == "b0"
    assert cluster.fronts[0].web.subscribe("t", "ann").status == 200


def test_a_supervisor_passes_it_on(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=2, fronts=1, curve=True, supervised=True)
    supervisor = cluster.supervisor
    assert supervisor is not None
    pids = {broker.id: cluster.broker_pid(broker.id) for broker in cluster.map.brokers}
    fresh = make_keys(cluster.keys, "--front", "web2")
    put(cluster.description, f'{cluster.description.read_text()}\n[[fronts]]\nname = "web2"\nkey = "{fresh["web2"]}"\n')
    supervisor.process.signal(signal.SIGHUP)
    pair = pair_of(cluster.keys, "web2")
    for broker in cluster.map.brokers:
        with cluster.peer(broker.id, **options_for(pair, broker.key)) as peer:
            peer.socket.setsockopt(zmq.RCVTIMEO, 10_000)
            admitted(peer, broker.endpoint)
    assert pids == {broker.id: cluster.broker_pid(broker.id) for broker in cluster.map.brokers}


def test_a_copy_is_made_with_the_key_of_fronts(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1, curve=True, durable=True)
    web = cluster.fronts[0].web
    web.subscribe("t", "ann")
    web.publish("t", b"kept")
    flags = [f"--run-dir={cluster.run_dir}", f"--curve-dir={cluster.keys}"]
    copy = cluster.spawn("backup", "broker.tools.backup", str(cluster.folder / "copy"), *flags)
    assert copy.popen.wait(PATIENCE) == 0, copy.about()
    assert (cluster.folder / "copy" / "b0").is_dir()


@pytest.mark.parametrize("host", ["[::1]", "localhost"])
def test_an_endpoint_may_be_of_ipv6_or_a_name(start_cluster: StartCluster, host: str) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    cluster = start_cluster(brokers=1, fronts=0, curve=True)
    cluster.brokers["b0"].kill()
    text = cluster.description.read_text()
    put(cluster.description, text.replace("127.0.0.1", host))
    cluster.start_broker("b0")
    front = cluster.start_front()
    wait_for(front.ready, "the broker at its other address")
    assert front.web.subscribe("t", "ann").status == 200


def admitted(peer: Any, endpoint: str) -> None:
    """Wait until a broker admits a peer that it may have refused before."""

    def answered() -> bool:
        peer.socket.send(PING)
        if peer.socket.poll(500):
            return True
        peer.socket.disconnect(endpoint)
        peer.socket.connect(endpoint)
        return False

    wait_for(answered, "the peer to be let in")


@pytest.mark.slow
def test_a_broker_gets_a_new_key(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=2, fronts=1, curve=True)
    old, web = cluster.map.address("b0").key, cluster.fronts[0].web
    topics = {broker: cluster.topic(broker, "keyed") for broker in ("b0", "b1")}
    fresh = make_keys(cluster.folder / "new", "b0")["b0"]
    (cluster.folder / "new" / "b0.key").replace(cluster.keys / "b0.key")
    put(cluster.description, cluster.description.read_text().replace(old, fresh).replace("epoch = 1", "epoch = 2"))
    wait_for(lambda: web.subscribe(topics["b0"], "ann").status == 503, "the front to expect the new key")
    assert web.subscribe(topics["b1"], "ann").status == 200
    cluster.kill_broker("b0")
    wait_for(cluster.fronts[0].ready, "the broker with its new key")
    assert web.subscribe(topics["b0"], "ann").status == 200


def test_a_flood_of_refused_handshakes_leaves_the_others_their_turn(target: Cluster) -> None:
    """Open many connections with unlisted keys at a time, each of which costs both sides a complete handshake."""
    web = target.fronts[0].web
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        for _ in range(3):
            before = refused(target, "key")
            strangers = [context.socket(zmq.DEALER) for _ in range(100)]
            for stranger in strangers:
                for name, value in an_unlisted_key(target).items():
                    stranger.setsockopt(getattr(zmq, name), value)
                stranger.connect(target.map.endpoint("b0"))
            while refused(target, "key") < before + 100:
                assert web.publish("mine", b"x").status == 200
                assert web.take("mine", "ann").body == b"x"
            context.destroy(linger=0)
            context = zmq.Context()
    finally:
        context.destroy(linger=0)
