"""What cannot start says so in one line and exits with 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from common.partition import describe_local
from tests.e2e.cluster import PATIENCE

ROOT = Path(__file__).parents[2]


def refusal(module: str, *arguments: str) -> str:
    """The one line of a start that is refused."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 2, done.stderr
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
