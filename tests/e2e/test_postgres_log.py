"""The log over PostgreSQL keeps the contract of a log, on a real server. Runs with FANMAIL_TEST_POSTGRES=1."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator

import psycopg
import pytest

from broker.replica.engine.names import StreamName
from broker.replica.log import Appended, Log, Lost, Missing, Purged, Refused, Unknown
from broker.replica.postgres import reading
from broker.replica.postgres.access import Access as PostgresAccess
from broker.replica.postgres.log import PostgresLog
from broker.replica.postgres.logs import ask
from tests.e2e.cluster import PATIENCE
from tests.support.log_contract import Access, Engine, LogContract, numbered
from tests.support.postgres_server import PostgresServer

PASS_S = 0.01


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.close()


class PostgresEngine:
    """One log of a server that all tests share."""

    def __init__(self, server: PostgresServer) -> None:
        self.access = PostgresAccess(server.url)
        self._names: list[StreamName] = []
        self._logs: list[PostgresLog] = []
        self.calls = 1000
        """How often time may still pass."""
        self.name = self._make()

    def _make(self, first: bytes = b"") -> StreamName:
        name = StreamName("test", "b0", os.urandom(8))
        self._names.append(name)
        ask(self.access, lambda logs: logs.make(name, first, 2**26))
        return name

    def open(self) -> Log:
        return self._open(self.name)

    def open_other(self) -> Log:
        return self._open(self._make(b"entry 1"))

    def _open(self, name: StreamName) -> Log:
        log = PostgresLog(self.access, name, f"h{len(self._logs)}", 1)
        self._logs.append(log)
        assert select.select([log.fileno], [], [], PATIENCE)[0], "no connection"
        return log

    def execute(self, statement: str) -> None:
        """Do something as an administrator."""
        with psycopg.connect(self.access.url, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]

    def limit(self, most_bytes: int) -> None:
        self.execute(f"UPDATE fanmail_logs SET max_bytes = {most_bytes}")

    def pass_time(self) -> bool:
        time.sleep(PASS_S)  # descriptors of logs that the test does not look at are readable all the time
        self.calls -= 1
        return self.calls > 0

    def cut(self, log: Log) -> None:
        assert isinstance(log, PostgresLog)
        log.cut()

    def close(self) -> None:
        for log in self._logs:
            log.close()
        for name in self._names:
            ask(self.access, lambda logs, name=name: logs.delete(name))  # type: ignore[misc]


@pytest.fixture
def engine(server: PostgresServer) -> Iterator[PostgresEngine]:
    engine = PostgresEngine(server)
    yield engine
    engine.close()


class TestPostgresLog(LogContract):
    @pytest.fixture
    def engine(self, server: PostgresServer) -> Iterator[Engine]:
        engine = PostgresEngine(server)
        yield engine
        engine.close()


@pytest.mark.parametrize("call", ["read", "follow"])
def test_what_is_purged_is_missing_also_where_a_large_entry_follows(
    engine: PostgresEngine, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(reading, "BATCH_BYTES", 3)
    one, two = Access(engine), Access(engine)
    one.fill(5)
    one.log.purge(4)
    one.wait(Purged)
    getattr(two.log, call)(2)
    assert two.wait(Missing) == Missing(2, 4, 5)


@pytest.fixture
def no_standby(engine: PostgresEngine) -> Iterator[None]:
    """Let commits wait for a standby that is away."""
    _set_standby(engine, "'away'")
    yield
    _set_standby(engine, "''")


def _set_standby(engine: PostgresEngine, names: str) -> None:
    with psycopg.connect(engine.access.url, autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = {names}")  # type: ignore[call-overload]
        connection.execute("SELECT pg_reload_conf()")
        wanted, shown = names.strip("'"), None
        while shown != wanted:
            shown = connection.execute("SHOW synchronous_standby_names").fetchone()[0]  # type: ignore[index]


def test_what_no_standby_has_is_not_shown_and_not_acknowledged(engine: PostgresEngine, no_standby: None) -> None:
    one, two = Access(engine), Access(engine)
    two.log.follow(1)
    assert isinstance(one.append(b"entry 1", 0), Unknown)
    assert isinstance(one.append(b"entry 1", 0), Unknown), "behind the one that waits"
    assert not [each for each in two.quiet() if hasattr(each, "entries")]
    _set_standby(engine, "''")
    assert two.entries(1, 1) == numbered(1, 1)
    assert isinstance(one.append(b"entry 1", 0), Refused)


def test_what_an_administrator_made_visible_is_not_shown(engine: PostgresEngine, no_standby: None) -> None:
    """To cancel a commit that waits makes it visible at once."""
    one, two = Access(engine), Access(engine)
    two.log.follow(1)
    one.log.append(b"entry 1", 0)
    with psycopg.connect(engine.access.url, autocommit=True) as admin:
        query = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        while not admin.execute(query).fetchall():
            assert engine.pass_time()
    assert isinstance(one.result(), Unknown)
    with psycopg.connect(engine.access.url) as admin:
        assert admin.execute("SELECT position FROM fanmail_log WHERE log = %s", (engine.name.log_id,)).fetchall()
    two.log.read(1)
    assert not [each for each in two.quiet() if hasattr(each, "entries")]
    _set_standby(engine, "''")
    assert two.found(1) == b"entry 1"


def test_nothing_acknowledged_is_lost_when_the_server_crashes(engine: PostgresEngine, server: PostgresServer) -> None:
    engine.calls = 5000
    one, two = Access(engine), Access(engine)
    two.log.follow(1)
    one.fill(5)
    one.log.append(b"entry 6", 5)
    server.crash()
    server.start()
    result = one.result()
    for n in range(6, 11):
        while result != Appended(n) and result != Refused(n):  # the first after the crash finds a dead connection
            assert engine.pass_time()
            result = one.append(b"entry %d" % n, n - 1)
    assert two.entries(1, 10) == numbered(1, 10)


@pytest.mark.parametrize("statement", ["DELETE FROM fanmail_logs", "DELETE FROM fanmail_log WHERE position = 2"])
def test_a_log_without_its_rows_is_lost(engine: PostgresEngine, statement: str) -> None:
    one, two = Access(engine), Access(engine)
    one.fill(3)
    engine.execute(statement)
    two.log.follow(2)
    assert engine.name.log_id.hex() in two.wait(Lost).reason
