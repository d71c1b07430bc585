"""`bin/replica` with logs in PostgreSQL: stores begin new logs. Runs with FANMAIL_TEST_POSTGRES=1."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.replica.engine.names import StreamName
from broker.replica.postgres.logs import ask
from broker.store.sqlite.files import FILE
from broker.store.sqlite.inspection import inspect
from broker.tools import replica_import, replica_init, replica_relog, replica_seed
from common.errors import StartError
from tests.conftest import StartCluster
from tests.e2e.cluster import wait_for
from tests.e2e.test_postgres_brokers import PostgresCluster
from tests.e2e.test_replica_repairs import (
    await_role,
    call,
    host,
    run_backup,
    send,
    stop_all,
    stopped_after_one_of_two,
)
from tests.support.postgres_server import PostgresServer

MIB64 = "--log-max-bytes=64MiB"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture
def site(server: PostgresServer) -> Iterator[PostgresCluster]:
    site = PostgresCluster(server)
    yield site
    print(site.about())
    site.close()


def flags(site: PostgresCluster) -> list[str]:
    return [f"--config={site.description}", f"--postgres={site.server.url}", "--log-replicas=1"]


def find(site: PostgresCluster) -> StreamName:
    return ask(site.postgres, lambda logs: logs.find(site.cluster_name, "b0"))


def subscribe(site: PostgresCluster) -> None:
    wait_for(lambda: site.fronts[0].ready(), "a front")
    assert site.fronts[0].web.subscribe("news", "alice").status == 200


def drained(site: PostgresCluster) -> list[bytes]:
    wait_for(lambda: site.fronts[0].ready(), "the front to know the owner")
    return site.fronts[0].web.drain("news", "alice")


def test_a_lost_log_begins_anew_with_the_store_that_has_read_most(site: PostgresCluster) -> None:
    owner, standby = site.owner(), site.standby()
    subscribe(site)
    send(site, "one", "two")
    arguments = ["b0", *flags(site), MIB64, f"--data={site.folder}/{host(owner)}"]
    with pytest.raises(StartError, match="runs: stop both candidates"):
        replica_relog.run(arguments)
    stop_all(site.candidates.values())
    ask(site.postgres, lambda logs: logs.delete(site.logs["b0"]))
    assert replica_relog.run(arguments) == 0
    site.start_broker(standby)
    assert site.candidates[standby].popen.wait(30) != 0, "it follows another log"
    assert f"PostgreSQL has no log {site.logs['b0'].log_id.hex()}" in site.candidates[standby].log()
    site.start_broker(owner)
    await_role(site, owner, "owner")
    assert site.replica(owner).term > 1000, "fronts know the old terms"
    data = site.folder / host(standby)
    shutil.rmtree(data)
    call(replica_seed.run, site, "b0", f"--candidate={host(standby)}", f"--data={data}")
    site.start_broker(standby)
    await_role(site, standby, "following")
    send(site, "three")
    assert drained(site) == [b"one", b"two", b"three"]


def test_a_log_that_has_more_than_the_store_is_not_given_up_unasked(site: PostgresCluster) -> None:
    owner, standby = site.owner(), site.standby()
    subscribe(site)
    site.candidates[standby].kill()
    send(site, "one")
    site.candidates[owner].kill()
    former = find(site)
    arguments = ["b0", *flags(site), MIB64, f"--data={site.folder}/{host(standby)}"]
    with pytest.raises(StartError, match=r"with changes that .* does not have"):
        replica_relog.run(arguments)
    assert find(site) == former
    assert replica_relog.run([*arguments, "--discard"]) == 0
    assert find(site) != former
    assert ask(site.postgres, lambda logs: logs.read(former, 1)) is None, "the rows of the former log are removed"
    site.start_broker(standby)
    await_role(site, standby, "owner")
    assert site.replica(standby).term > 1, "fronts know the terms of the former log"


def test_a_backup_is_put_back_with_a_new_log(site: PostgresCluster) -> None:
    owner = site.owner()
    subscribe(site)
    send(site, "one")
    copy = site.folder / "copy"
    call(run_backup, site, str(copy))
    send(site, "two")
    stop_all(site.candidates.values())
    for name in site.candidates:
        shutil.rmtree(site.folder / host(name))
    arguments = ["b0", *flags(site), MIB64, f"--data={site.folder}/{host(owner)}", f"--from={copy}"]
    with pytest.raises(StartError, match=r"with changes that .* does not have"):
        replica_relog.run(arguments)
    assert replica_relog.run([*arguments, "--discard"]) == 0
    site.start_broker(owner)
    await_role(site, owner, "owner")
    assert drained(site) == [b"one"]


def test_stopped_brokers_become_replicated_ones_and_keep_their_ids(
    server: PostgresServer, start_cluster: StartCluster, tmp_path: Path
) -> None:
    former, read = stopped_after_one_of_two(start_cluster)
    site = PostgresCluster(server, former.map.name)
    try:
        stop_all(site.candidates.values())
        ask(site.postgres, lambda logs: logs.delete(site.logs["b0"]))
        assert replica_init.run([*flags(site), MIB64]) == 0
        data = site.folder / "new"
        assert replica_import.run([str(former.data), *flags(site), MIB64, f"--data={data}"]) == 0
        site.start_broker("b0@h1", data=data)
        await_role(site, "b0@h1", "owner")
        web = site.fronts[0].web
        wait_for(lambda: site.fronts[0].ready(), "a front")
        second = web.call("GET", f"/news/alice?after={read}")
        assert (second.status, second.body) == (200, b"two")
        call(run_backup, site, str(tmp_path / "copy"))
        with inspect(tmp_path / "copy" / "b0" / FILE) as copy:
            assert copy.summary().messages == 1
    finally:
        site.close()


def test_both_engines_at_once_are_refused(site: PostgresCluster) -> None:
    for command, arguments in ((replica_relog, ["b0"]), (replica_import, [str(site.folder)])):
        with pytest.raises(StartError, match="--nats and --postgres are both given"):
            command.run([*arguments, *flags(site), "--nats=nats://127.0.0.1:1", f"--data={site.folder}/h1"])


def test_without_postgres_there_is_one_line(site: PostgresCluster) -> None:
    stop_all(site.candidates.values())
    url = "postgresql://fanmail@127.0.0.1:1/postgres"
    with pytest.raises(StartError, match=r"PostgreSQL: .*refused"):
        replica_relog.run(["b0", f"--config={site.description}", f"--postgres={url}", f"--data={site.folder}/h1"])
    assert (site.folder / "h1" / "b0" / FILE).exists(), "the store is as it was"
