"""The log over NATS JetStream keeps the contract of a log, on real servers."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from functools import partial

import pytest

from broker.replica.engine.names import StreamName
from broker.replica.jetstream import access as nats_access
from broker.replica.jetstream import api
from broker.replica.jetstream.log import JetStreamLog
from broker.replica.jetstream.streams import Streams, ask
from broker.replica.log import Appended, Log, Lost, Refused, Unknown
from common.errors import StartError
from tests.e2e.cluster import PATIENCE, wait_for
from tests.support.log_contract import Access, Engine, LogContract
from tests.support.nats_cluster import FORMER_VERSION, NatsCluster

MAX_BATCH = 8 * 2**20
PASS_S = 0.01


class JetStreamEngine:
    """One stream of a cluster that all tests of a class share."""

    def __init__(self, cluster: NatsCluster) -> None:
        self.access = nats_access.Access(tuple(node.url for node in cluster.nodes))
        self._names: list[StreamName] = []
        self._logs: list[JetStreamLog] = []
        self.calls = 1000
        """How often time may still pass."""
        self.name = self._make()

    def _make(self) -> StreamName:
        name = wait_for(self._made, "a place for a stream")
        self._names.append(name)
        return name

    def _made(self) -> StreamName | None:
        """Servers that have just come back may have no place yet."""
        name = StreamName("test", "b0", os.urandom(8))
        try:
            ask(self.access, lambda streams: streams.create(name, 2**26, 3))
        except StartError:
            return None
        return name

    def open(self) -> Log:
        return self._open(self.name)

    def open_other(self) -> Log:
        name = self._make()
        ask(self.access, lambda streams: streams.begin(name, b"entry 1"))
        return self._open(name)

    def _open(self, name: StreamName) -> Log:
        log = JetStreamLog(self.access, name, f"h{len(self._logs)}", MAX_BATCH)
        self._logs.append(log)
        assert select.select([log.fileno], [], [], PATIENCE)[0], "no connection"
        return log

    def limit(self, most_bytes: int) -> None:
        async def update(streams: Streams) -> None:
            config = (await streams.describe(self.name)).config
            config.max_bytes = most_bytes
            await streams.client.request(f"$JS.API.STREAM.UPDATE.{self.name.stream}", api.encode(config), timeout=10)

        ask(self.access, update)

    def pass_time(self) -> bool:
        time.sleep(PASS_S)  # descriptors of logs that the test does not look at are readable all the time
        self.calls -= 1
        return self.calls > 0

    def cut(self, log: Log) -> None:
        assert isinstance(log, JetStreamLog)
        log.cut()

    def close(self) -> None:
        for log in self._logs:
            log.close()
        for name in self._names:
            ask(self.access, partial(_delete, name))


async def _delete(name: StreamName, streams: Streams) -> None:
    await streams.delete(name)


class TestJetStreamLog(LogContract):
    @pytest.fixture
    def engine(self, nats: NatsCluster) -> Iterator[Engine]:
        engine = JetStreamEngine(nats)
        yield engine
        engine.close()


@pytest.fixture(scope="module")
def servers() -> Iterator[NatsCluster]:
    cluster = NatsCluster(version=FORMER_VERSION)
    yield cluster
    cluster.close()


@pytest.mark.slow
class TestJetStreamLogOfFormerVersion(LogContract):
    @pytest.fixture
    def engine(self, servers: NatsCluster) -> Iterator[Engine]:
        engine = JetStreamEngine(servers)
        yield engine
        engine.close()


@pytest.fixture
def engine(nats: NatsCluster) -> Iterator[JetStreamEngine]:
    engine = JetStreamEngine(nats)
    yield engine
    nats.restore()
    engine.close()


def test_a_log_whose_stream_was_deleted_is_lost(engine: JetStreamEngine) -> None:
    one, two = Access(engine), Access(engine)
    one.fill(2)
    two.log.follow(1)
    two.entries(1, 2)
    ask(engine.access, lambda streams: streams.delete(engine.name))
    assert "has no stream" in two.wait(Lost).reason
    ask(engine.access, lambda streams: streams.create(engine.name, 2**26, 3))
    one.log.inspect()
    one.log.read(3)
    assert isinstance(one.append(b"entry 3", 2), Refused)


@pytest.mark.slow
@pytest.mark.parametrize("size", [100, 6 * 2**20])
def test_a_server_that_is_paused_is_left(engine: JetStreamEngine, nats: NatsCluster, size: int) -> None:
    engine.calls = 5000
    one, two = Access(engine), Access(engine)
    one.fill(1)
    two.log.follow(1)
    nats.stop(_server_of(nats, "fanmail b0@h0"))
    results, last = [], 1
    while last < 3:
        results.append(one.append(bytes(size), last))
        last = results[-1].position if isinstance(results[-1], Appended) else last
        last = results[-1].last if isinstance(results[-1], Refused) else last
        engine.pass_time()
    assert isinstance(results[0], Unknown)
    assert [position for position, _ in two.entries(1, last)] == list(range(1, last + 1))


@pytest.mark.slow
def test_nothing_is_lost_while_servers_are_killed_one_after_the_other(
    engine: JetStreamEngine, nats: NatsCluster
) -> None:
    engine.calls = 5000
    one, two = Access(engine), Access(engine)
    one.fill(1)
    two.log.follow(1)
    acknowledged, last = [1], 1
    for node in range(3):
        nats.kill(node)
        until = last + 20
        while last < until:
            result = one.append(b"entry %d" % (last + 1), last)
            if isinstance(result, Appended):
                acknowledged.append(result.position)
                last = result.position
            elif isinstance(result, Refused):
                last = max(last, result.last)
            engine.pass_time()
        nats.start(node)
        nats.ready()
    found = dict(two.entries(1, last))
    assert {position: found[position] for position in acknowledged} == {
        position: b"entry %d" % position for position in acknowledged
    }


def _server_of(nats: NatsCluster, client: str) -> int:
    """Return the node that a client is connected to."""
    for number, node in enumerate(nats.nodes):
        if any(each["name"] == client for each in (node.ask("/connz") or {})["connections"]):
            return number
    raise AssertionError(f"{client} is not connected")


def test_a_log_is_closed_while_answers_come(engine: JetStreamEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancellation that comes with an answer gets lost."""
    monkeypatch.setattr("broker.replica.jetstream.connection.PING_S", 0.001)
    for _ in range(4):
        logs = [engine.open() for _ in range(12)]
        for log in logs:
            log.follow(1)
        engine.pass_time()
        for log in logs:
            log.close()
