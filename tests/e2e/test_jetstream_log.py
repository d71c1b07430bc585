"""The log over NATS JetStream keeps the contract of a log, on real servers."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator

import pytest

from broker.replica.jetstream import api
from broker.replica.jetstream.access import Access
from broker.replica.jetstream.log import JetStreamLog
from broker.replica.jetstream.names import StreamName
from broker.replica.jetstream.streams import Streams, ask
from broker.replica.log import Log
from tests.e2e.cluster import PATIENCE
from tests.support.log_contract import Engine, LogContract
from tests.support.nats_cluster import FORMER_VERSION, NatsCluster

MAX_BATCH = 8 * 2**20
PASS_S = 0.01


class JetStreamEngine:
    """One stream of a cluster that all tests of a class share."""

    def __init__(self, cluster: NatsCluster) -> None:
        self.access = Access(tuple(node.url for node in cluster.nodes))
        self.name = StreamName("test", "b0", os.urandom(8))
        self._logs: list[JetStreamLog] = []
        self._calls = 0
        ask(self.access, lambda streams: streams.create(self.name, 2**26, 3))

    def open(self) -> Log:
        log = JetStreamLog(self.access, self.name, f"h{len(self._logs)}", MAX_BATCH)
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
        self._calls += 1
        return self._calls < 1000

    def cut(self, log: Log) -> None:
        assert isinstance(log, JetStreamLog)
        log.cut()

    def close(self) -> None:
        for log in self._logs:
            log.close()
        ask(self.access, lambda streams: streams.delete(self.name))


class TestJetStreamLog(LogContract):
    @pytest.fixture
    def engine(self, nats: NatsCluster) -> Iterator[Engine]:
        engine = JetStreamEngine(nats)
        yield engine
        engine.close()


@pytest.mark.slow
class TestJetStreamLogOfFormerVersion(LogContract):
    @pytest.fixture(scope="class")
    def servers(self) -> Iterator[NatsCluster]:
        cluster = NatsCluster(version=FORMER_VERSION)
        yield cluster
        cluster.close()

    @pytest.fixture
    def engine(self, servers: NatsCluster) -> Iterator[Engine]:
        engine = JetStreamEngine(servers)
        yield engine
        engine.close()
