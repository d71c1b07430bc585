"""A store that cannot be trusted or belongs to another broker is refused.

The refusal is one clear line and exit code 2, and the store is not changed.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import apsw
import pytest

from broker.store.sqlite.vfs import StoreVfs
from common.cluster.description import describe_local
from tests.conftest import StartCluster
from tests.e2e.cluster import PATIENCE, ROOT, Cluster, clean_environ

PAGE = 8192


class Stopped(NamedTuple):
    """What a stopped broker needs."""

    run_dir: Path
    data: Path


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the store of a stopped broker: a topic with 100 messages for one user."""
    cluster = Cluster(brokers=1, fronts=1, durable=True)
    try:
        web = cluster.fronts[0].web
        web.subscribe("t", "ann")
        for n in range(100):
            web.publish("t", b"%d" % n + bytes(1000))
        assert cluster.brokers["b0"].terminate() == 0
        return Path(shutil.copytree(cluster.data, tmp_path_factory.mktemp("stored") / "data"))
    finally:
        cluster.close()


@pytest.fixture
def stopped(stored: Path, folder: Path) -> Stopped:
    """Return a broker of that store."""
    (folder / "cluster.toml").write_text(describe_local(1, folder))
    return Stopped(folder, Path(shutil.copytree(stored, folder / "data")))


def run(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", module, *map(str, arguments)]
    environ = clean_environ()
    return subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False)


def refused(*arguments: object) -> str:
    """Return the one line of a broker that does not start."""
    done = run("broker", *arguments)
    assert done.returncode == 2, done
    (line,) = [each for each in done.stderr.splitlines() if not each.startswith("{")]
    assert not [each for each in done.stderr.splitlines() if '"level":"error"' in each]
    assert "Traceback" not in done.stderr
    return line


def flags(cluster: Cluster | Stopped, **others: object) -> list[str]:
    given = {"run-dir": cluster.run_dir, "store": "sqlite", "data": cluster.data, "id": "b0", **others}
    return [f"--{name}={value}" for name, value in given.items()]


def store_of(cluster: Stopped) -> Path:
    return cluster.data / "b0" / "store.db"


def overwrite(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def spoil_the_header(path: Path) -> None:
    overwrite(path, 0, b"\xff" * 100)


def spoil_the_schema(path: Path) -> None:
    overwrite(path, 100, b"\xff" * (PAGE - 100))


def spoil_everything_else(path: Path) -> None:
    overwrite(path, PAGE, b"\xa5" * (path.stat().st_size - PAGE))


def cut_it(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(3 * PAGE)


def put_text_there(path: Path) -> None:
    path.write_text("precious notes\n" * 1000)


def put_a_foreign_database_there(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE precious (note)")


def raise_its_version(path: Path) -> None:
    pages = StoreVfs()
    with closing(apsw.Connection(str(path), vfs=pages.name)) as db:
        db.pragma("user_version", 99)
    pages.unregister()


SPOILERS: dict[Callable[[Path], None], str] = {
    spoil_the_header: "not a database",
    spoil_the_schema: "page 1 is damaged",
    spoil_everything_else: " is damaged",
    cut_it: "malformed",
    put_text_there: "not a database",
    put_a_foreign_database_there: "not a Fanmail store",
    raise_its_version: "newer version (schema 99",
}
"""Each with what the line says."""


@pytest.mark.parametrize("spoil", SPOILERS)
def test_a_store_that_cannot_be_trusted(stopped: Stopped, spoil: Callable[[Path], None]) -> None:
    path = store_of(stopped)
    spoil(path)
    before = path.read_bytes()
    line = refused(*flags(stopped))
    assert line.startswith(f"broker: {path}: ")
    assert SPOILERS[spoil] in line
    assert path.read_bytes() == before
    assert not Path(f"{stopped.run_dir}/b0.sock").exists()
    looked = run("broker.tools.inspect", stopped.data)
    assert (looked.returncode, looked.stdout) == (2, "")
    assert str(path) in looked.stderr
    assert len(looked.stderr.splitlines()) == 1


def test_a_store_that_is_gone(stopped: Stopped) -> None:
    path = store_of(stopped)
    path.unlink()
    line = refused(*flags(stopped))
    assert line.startswith(f"broker: {path}: missing, but lock beside it shows that there was a store: restore a copy")
    assert f"or remove {path.with_name('lock')} to start" in line
    looked = run("broker.tools.inspect", stopped.data)
    assert (looked.returncode, looked.stderr) == (2, line.replace("broker:", "inspect:", 1) + "\n")
    assert not path.exists()


def test_the_store_of_another_broker(stopped: Stopped, folder: Path) -> None:
    (folder / "cluster.toml").write_text(describe_local(2, folder))
    store_of(stopped).parent.rename(stopped.data / "b1")
    line = refused(*flags(stopped, id="b1"))
    assert "the store of broker 'b0' of cluster 'fanmail', not of 'b1'" in line


def test_the_store_of_another_cluster(stopped: Stopped, folder: Path) -> None:
    description = describe_local(1, folder).replace('name = "fanmail"', 'name = "elsewhere"')
    (folder / "cluster.toml").write_text(description)
    line = refused(*flags(stopped))
    assert "of cluster 'fanmail', not of 'b0' of 'elsewhere'" in line


def test_a_second_broker_on_the_same_store(start_cluster: StartCluster, folder: Path) -> None:
    cluster = start_cluster(brokers=1, fronts=1, durable=True)
    (folder / "cluster.toml").write_text(describe_local(1, folder))
    line = refused(*flags(cluster, **{"run-dir": folder}))
    assert f"already in use by process {cluster.brokers['b0'].pid}" in line
    looked = run("broker.tools.inspect", cluster.data)
    assert (looked.returncode, "already in use" in looked.stderr) == (2, True)
    assert cluster.fronts[0].web.subscribe("t", "u").status == 200


def test_no_data_directory_and_one_that_is_open_to_others(folder: Path) -> None:
    (folder / "cluster.toml").write_text(describe_local(1, folder))
    assert "--data" in refused(f"--run-dir={folder}", "--store=sqlite")
    other = folder / "data" / "b0"
    other.mkdir(parents=True)
    (other / "something").touch()
    other.chmod(0o755)
    assert "accessible to other users" in refused(f"--run-dir={folder}", "--store=sqlite", f"--data={folder}/data")


@pytest.mark.slow
def test_fewer_brokers_than_have_slots(start_cluster: StartCluster, folder: Path) -> None:
    cluster = start_cluster(brokers=4, fronts=1, durable=True)
    web = cluster.fronts[0].web
    topics = [f"t{n}" for n in range(40)]
    for topic in topics:
        web.subscribe(topic, "ann")
        web.publish(topic, topic.encode())
    for broker in cluster.brokers.values():
        assert broker.terminate() == 0
    settings = [f"--run-dir={folder}/run", "--store=sqlite", f"--data={cluster.data}", "--log-format=json"]
    done = run("broker.start", 2, *settings)
    assert done.returncode == 2, done
    said = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert said
    for line in said:
        assert str(cluster.data) in line
        assert "run --drain b2" in line
    for broker_id in cluster.brokers:
        cluster.start_broker(broker_id)
    cluster.await_ready()
    assert [web.drain(topic, "ann") for topic in topics] == [[topic.encode()] for topic in topics]
