"""`bin/replica` with candidates that run: ownership moves, and stores and logs that were lost come back."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import zmq

from broker.replica.jetstream import api
from broker.replica.jetstream.streams import Streams, ask
from broker.store.sqlite.files import FILE
from broker.store.sqlite.inspection import inspect
from broker.tools import (
    backup,
    replica_handover,
    replica_import,
    replica_init,
    replica_relog,
    replica_seed,
    replica_status,
)
from common.errors import StartError
from common.process.start import AGAIN
from tests.conftest import StartCluster
from tests.e2e.cluster import Cluster, Process, wait_for
from tests.e2e.replicated import ReplicatedCluster
from tests.support.nats_cluster import NatsCluster

Site = ReplicatedCluster


@pytest.fixture
def site(nats: NatsCluster) -> Iterator[Site]:
    site = ReplicatedCluster(nats)
    yield site
    print(site.about())
    site.close()


def flags(site: Site, nats: NatsCluster) -> list[str]:
    return [f"--config={site.description}", f"--nats={nats.urls}"]


def call(command: Callable[[list[str]], int], site: Site, *arguments: str) -> None:
    assert command([*arguments, f"--config={site.description}"]) == 0


def send(site: Site, *texts: str) -> None:
    web = site.fronts[0].web
    for text in texts:
        wait_for(lambda text=text: web.call("POST", "/news", text.encode()).status == 200, "a publish")


def await_role(site: Site, name: str, role: str) -> None:
    """Wait until a candidate answers, and is what is wanted."""

    def has_it() -> bool:
        with suppress(zmq.ZMQError, AssertionError):
            return site.replica(name).role == role
        return False

    wait_for(has_it, f"{name} to be {role}")


def run_backup(arguments: list[str]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["backup", *arguments])
        return backup.main()


def host(name: str) -> str:
    return name.partition("@")[2]


def test_a_broker_is_handed_over_and_its_former_owner_is_seeded(
    site: Site, nats: NatsCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    web = site.fronts[0].web
    owner, standby = site.owner(), site.standby()
    wait_for(lambda: site.fronts[0].ready(), "a front")
    await_role(site, standby, "following")  # before it has begun it has no store
    assert web.subscribe("news", "alice").status == 200
    send(site, "one", "two")
    with pytest.raises(StartError, match=f"{owner} owns the log: only another candidate can be seeded"):
        call(replica_seed.run, site, "b0", f"--candidate={host(owner)}", f"--data={site.folder}/other")
    wait_for(lambda: len(site.replica(owner).others) == 1, "a report of the standby")
    call(replica_handover.run, site, "b0", f"--to={host(standby)}")
    assert f"b0: {host(standby)} owns the log, term 2, after 0" in capsys.readouterr().out
    assert site.candidates[owner].popen.wait(30) is not None
    send(site, "three")
    call(run_backup, site, str(site.folder / "copy"))
    with inspect(site.folder / "copy" / "b0" / FILE) as copy:
        assert copy.summary().messages == 3
    data = site.folder / host(owner)
    shutil.rmtree(data)
    call(replica_seed.run, site, "b0", f"--candidate={host(owner)}", f"--data={data}")
    with pytest.raises(StartError, match="there is a store already"):
        call(replica_seed.run, site, "b0", f"--candidate={host(owner)}", f"--data={data}")
    site.start_broker(owner)
    await_role(site, owner, "following")
    call(replica_handover.run, site, "b0", f"--to={host(owner)}")
    wait_for(lambda: site.fronts[0].ready(), "the front to know the owner")
    assert web.drain("news", "alice") == [b"one", b"two", b"three"]
    assert replica_status.run([*flags(site, nats)]) == 0
    assert "owner" in capsys.readouterr().out


def stop_all(processes: Iterable[Process]) -> None:
    for process in processes:
        process.terminate()


def test_a_lost_log_begins_anew_with_the_store_that_has_read_most(
    site: Site, nats: NatsCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    web = site.fronts[0].web
    owner, standby = site.owner(), site.standby()
    wait_for(lambda: site.fronts[0].ready(), "a front")
    await_role(site, standby, "following")  # before it has begun it has no store
    web.subscribe("news", "alice")
    send(site, "one", "two")
    arguments = ["b0", *flags(site, nats), "--log-max-bytes=64MiB"]
    with pytest.raises(StartError, match=f"{site.map.address('b0', 'h1').name} runs: stop both candidates"):
        replica_relog.run([*arguments, f"--data={site.folder}/{host(owner)}"])
    stop_all(site.candidates.values())
    empty = site.folder / "empty"
    with pytest.raises(StartError, match="there is no store"):
        replica_relog.run([*arguments, f"--data={empty}"])
    ask(site.access, lambda streams: streams.delete(site.logs["b0"]))
    assert replica_relog.run([*arguments, f"--data={site.folder}/{host(owner)}"]) == 0
    site.logs["b0"] = ask(site.access, lambda streams: streams.find(site.cluster_name, "b0"))
    site.start_broker(standby)
    assert site.candidates[standby].popen.wait(30) != 0, "it follows another log"
    assert "NATS has no stream" in site.candidates[standby].log()
    site.start_broker(owner)
    await_role(site, owner, "owner")
    assert site.replica(owner).term > 1000, "fronts know the old terms"
    shutil.rmtree(site.folder / host(standby))
    call(replica_seed.run, site, "b0", f"--candidate={host(standby)}", f"--data={site.folder}/{host(standby)}")
    site.start_broker(standby)
    send(site, "three")
    wait_for(lambda: site.fronts[0].ready(), "the front to know the owner")
    assert web.drain("news", "alice") == [b"one", b"two", b"three"]


@pytest.mark.slow
def test_a_log_that_has_more_than_the_store_is_not_given_up_unasked(
    site: Site, nats: NatsCluster, tmp_path: Path
) -> None:
    owner, standby = site.owner(), site.standby()
    wait_for(lambda: site.fronts[0].ready(), "a front")
    await_role(site, standby, "following")  # before it has begun it has no store
    site.fronts[0].web.subscribe("news", "alice")
    site.candidates[standby].kill()
    send(site, "one")
    site.candidates[owner].kill()
    arguments = ["b0", *flags(site, nats), "--log-max-bytes=64MiB", f"--data={site.folder}/{host(standby)}"]
    with pytest.raises(StartError, match=r"with changes that .* does not have"):
        replica_relog.run(arguments)
    assert ask(site.access, lambda streams: streams.find(site.cluster_name, "b0")) == site.logs["b0"]
    assert replica_relog.run([*arguments, "--discard"]) == 0
    site.logs["b0"] = ask(site.access, lambda streams: streams.find(site.cluster_name, "b0"))
    site.start_broker(standby)
    await_role(site, standby, "owner")
    assert wait_for(lambda: site.fronts[0].web.take("news", "alice").status in (204, 404), "an answer")


def stopped_after_one_of_two(start_cluster: StartCluster) -> tuple[Cluster, str]:
    """Return stopped brokers that have "two" for a reader who has read "one", and the id of what was read."""
    former = start_cluster(brokers=1, fronts=1, durable=True)
    web = former.fronts[0].web
    assert web.subscribe("news", "alice").status == 200
    send(former, "one", "two")
    first = web.call("GET", "/news/alice?after=0")
    assert (first.status, first.body) == (200, b"one")
    stop_all(former.brokers.values())
    return former, first.headers["Msg-Id"]


@pytest.mark.slow
def test_stopped_brokers_become_replicated_ones_and_keep_their_ids(
    nats: NatsCluster, start_cluster: StartCluster
) -> None:
    former, read = stopped_after_one_of_two(start_cluster)
    site = ReplicatedCluster(nats, name=former.map.name)
    try:
        stop_all(site.candidates.values())
        arguments = [*flags(site, nats), "--log-max-bytes=64MiB", f"--data={site.folder}/new"]
        with pytest.raises(StartError, match="with changes that"):
            replica_import.run([str(former.data), *arguments])
        ask(site.access, lambda streams: streams.delete(site.logs["b0"]))
        assert replica_init.run([*flags(site, nats), "--log-max-bytes=64MiB"]) == 0
        assert replica_import.run([str(former.data), *arguments]) == 0
        site.logs["b0"] = ask(site.access, lambda streams: streams.find(site.cluster_name, "b0"))
        site.start_broker("b0@h1", data=site.folder / "new")
        await_role(site, "b0@h1", "owner")
        web = site.fronts[0].web
        wait_for(lambda: site.fronts[0].ready(), "a front")
        second = web.call("GET", f"/news/alice?after={read}")
        assert (second.status, second.body) == (200, b"two")
    finally:
        site.close()


@pytest.mark.slow
def test_a_new_or_left_out_candidate_gets_the_state_of_the_owner_by_itself(site: Site, nats: NatsCluster) -> None:
    web = site.fronts[0].web
    owner, standby = site.owner(), site.standby()
    wait_for(lambda: site.fronts[0].ready(), "a front")
    await_role(site, standby, "following")  # before it has begun it has no store
    web.subscribe("news", "alice")
    site.candidates[standby].kill()
    send(site, "one", "two")
    forget(site)
    site.start_broker(standby)
    assert site.candidates[standby].popen.wait(30) == AGAIN
    assert "seed it" in site.candidates[standby].log()
    site.start_broker(standby)
    await_role(site, standby, "following")
    site.candidates[standby].kill()
    shutil.rmtree(site.folder / host(standby))
    send(site, "three")
    forget(site)
    site.start_broker(standby)
    await_role(site, standby, "following")
    assert "seeded" in site.candidates[standby].log()
    wait_for(lambda: len(site.replica(owner).others) == 1, "a report of the standby")
    call(replica_handover.run, site, "b0", f"--to={host(standby)}")
    wait_for(lambda: site.fronts[0].ready(), "the front to know the owner")
    assert web.drain("news", "alice") == [b"one", b"two", b"three"]


def forget(site: Site) -> None:
    """Purge the log up to its last entry, as an owner does when it is half full."""
    name = site.logs["b0"]

    async def purge(streams: Streams) -> None:
        last = (await streams.describe(name)).state.last_seq
        query = api.encode({"filter": name.subject, "seq": last})
        await streams.client.request(api.PURGE + name.stream, query, timeout=10)

    ask(site.access, purge)
