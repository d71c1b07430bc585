"""A program that cannot start says so in one line and exits with 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from common.cluster.description import describe_local
from tests.e2e.cluster import PATIENCE, free_ports
from tests.e2e.curve import describe, make_keys

ROOT = Path(__file__).parents[2]


def refusal(module: str, *arguments: str, files: int = 1024) -> str:
    """Return the one line of a refused start. The process may open this many `files`."""
    done = subprocess.run(
        ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    (line,) = done.stderr.splitlines()
    return line


def test_a_file_in_the_place_of_a_socket_stays_as_it_is(folder: Path) -> None:
    (folder / "cluster.toml").write_text(describe_local(1, folder))
    (folder / "b0.sock").write_text("precious")
    assert "not a socket" in refusal("broker", f"--run-dir={folder}")
    assert (folder / "b0.sock").read_text() == "precious"


def test_an_id_means_nothing_to_the_supervisor_of_many(folder: Path) -> None:
    assert "--ids" in refusal("broker.start", "--id=b7", f"--run-dir={folder}")


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.1"])
def test_an_address_that_cannot_be_listened_on(folder: Path, host: str) -> None:
    assert host in refusal("httpfront", f"--host={host}", "--port=0", "--ops-port=0", f"--run-dir={folder}")


def test_a_file_of_keys_that_cannot_be_used(folder: Path) -> None:
    path = folder / "keys.toml"
    path.write_text('[[keys]]\nid = "orders"\nhash = "fm_orders_secret"\n')
    for module in ("httpfront", "httpfront.start"):
        line = refusal(module, "--port=0", "--ops-port=0", f"--run-dir={folder}", f"--api-keys-file={path}")
        assert f'{path}: key "orders": hash must be "sha256:" and 64 hexadecimal digits' in line
        assert "fm_orders" not in line


def test_rules_of_topics_that_cannot_be_used(folder: Path) -> None:
    (folder / "cluster.toml").write_text(describe_local(1, folder))
    (folder / "topics.toml").write_text('[[topics]]\npattern = "logs.*"\nmax_mesages = 1\n')
    line = refusal("broker", f"--run-dir={folder}", f"--topics={folder / 'topics.toml'}")
    assert "topics.toml: [[topics]] number 1: unknown setting 'max_mesages'" in line
    assert not (folder / "b0.sock").exists()
    assert "number 1" in refusal("broker.start", "1", f"--run-dir={folder}", f"--topics={folder / 'topics.toml'}")


def keyed(folder: Path) -> dict[str, str]:
    """Return a description of a broker with a key, and the public keys. The secret ones are in `keys`."""
    keys = make_keys(folder / "keys", "b0", "front")
    text = describe({"b0": (f"tcp://127.0.0.1:{free_ports(1)}", keys["b0"])}, {"front": keys["front"]})
    (folder / "cluster.toml").write_text(text)
    return keys


@pytest.mark.parametrize(
    ("module", "name"), [("broker", "b0"), ("broker.start", "b0"), ("httpfront", "front"), ("httpfront.start", "front")]
)
def test_keys_that_are_missing_open_or_of_somebody_else(folder: Path, module: str, name: str) -> None:
    keys = keyed(folder)
    ports = ["--port=0", "--ops-port=0"] if name == "front" else []
    arguments = [f"--config={folder / 'cluster.toml'}", f"--run-dir={folder / 'run'}", *ports]
    with_keys = [*arguments, f"--curve-dir={folder / 'keys'}"]
    path = folder / "keys" / f"{name}.key"
    assert "broker 'b0' has a key: --curve-dir must name" in refusal(module, *arguments)
    path.chmod(0o644)
    assert f"{path}: is accessible to other users (chmod 600)" in refusal(module, *with_keys)
    path.write_text(keys[name])
    path.chmod(0o600)
    assert f"{path}: is not a file with a secret key" in refusal(module, *with_keys)
    path.unlink()
    assert f"{path}: No such file or directory" in refusal(module, *with_keys)
    other = make_keys(folder / "keys", name)[name]
    line = refusal(module, *with_keys)
    assert other in line
    assert ("does not belong to the key" if name == "b0" else "is not in a [[fronts]] table") in line


def test_a_copy_with_a_key_that_is_not_listed(folder: Path) -> None:
    keyed(folder)
    arguments = [str(folder / "copy"), f"--config={folder / 'cluster.toml'}", f"--run-dir={folder}"]
    assert "has a key: --curve-dir must name" in refusal("broker.tools.backup", *arguments)
    (folder / "keys" / "front.key").unlink()
    make_keys(folder / "keys", "front")
    line = refusal("broker.tools.backup", *arguments, f"--curve-dir={folder / 'keys'}")
    assert "is not in a [[fronts]] table" in line


def test_keys_that_are_there_already(folder: Path) -> None:
    keyed(folder)
    assert "b0.key: exists and is not replaced" in refusal("common.tools.keys", "curve", str(folder / "keys"), "b0")


def test_too_few_descriptors(folder: Path) -> None:
    (folder / "cluster.toml").write_text(describe_local(1, folder))
    line = refusal("broker", f"--run-dir={folder}", files=32)
    assert "the limit of open files, 32, is too low: a broker needs " in line
    line = refusal("httpfront", f"--run-dir={folder}", "--port=0", "--ops-port=0", files=193)
    assert line == "front: the limit of open files, 193, is too low: a front needs 194 (ulimit -n)"


def test_plain_tcp_on_loopback(folder: Path) -> None:
    (folder / "cluster.toml").write_text('[[brokers]]\nid = "b0"\nendpoint = "tcp://127.0.0.1:7999"\n')
    for module in ("broker", "broker.start", "httpfront.start"):
        line = refusal(module, f"--run-dir={folder}/run", f"--config={folder / 'cluster.toml'}")
        assert "'tcp://127.0.0.1:7999' is TCP without a key" in line
