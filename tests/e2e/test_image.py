"""The image of `deploy/docker`, as far as this is possible without a container engine.

A folder gets what the Dockerfile copies and the packages of `requirements-server.txt`, and nothing else. Brokers and
fronts then run from it as the manifests say: without the rest of the repository, without the right to write in it and,
if the tests run as root, as the image's user.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import ROOT, Client, Process, free_ports, wait_for
from tests.support.bare_venv import copy, make_venv, pinned
from tests.support.deployed import DEPLOY, read_image

pytestmark = pytest.mark.slow

IMAGE = read_image(DEPLOY / "docker" / "Dockerfile")
USER = int(IMAGE.user.partition(":")[0]) if os.geteuid() == 0 else os.geteuid()


class Container:
    """The contents of the image in a folder. `state` replaces the container's mounts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.top, self.state = folder / "fanmail", folder / "state"
        for source in IMAGE.copied:
            copy(ROOT / source, self.top / source)
        make_venv(self.top / ".venv", pinned("requirements-server.txt"))
        self.state.mkdir(0o700)
        os.chown(self.state, USER, -1)
        for path in (folder, *self.top.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o555 if path.is_dir() or os.access(path, os.X_OK) else 0o444)

    def here(self, text: str) -> str:
        for path, place in (("/opt/fanmail", self.top), ("/run/fanmail", self.state / "run")):
            text = text.replace(path, str(place))
        return text

    def run(self, name: str, *command: str, **variables: object) -> Process:
        """Act as `docker run`: start the entry point with a command and only the image's variables and these."""
        environment = {**IMAGE.variables, **{key: str(value) for key, value in variables.items()}}
        argv = ["env", "-i", *(f"{key}={self.here(value)}" for key, value in environment.items())]
        if os.geteuid() == 0:
            argv += ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs"]
            argv += ["--bounding-set=-all"]
        argv += [self.here(word) for word in (*IMAGE.entry_point, *command)]
        return Process(name, argv, self._folder.parent / f"{self._folder.name}-{name}.log", cwd=self.top)


@pytest.fixture
def container(folder: Path) -> Iterator[Container]:
    box = folder / "box"
    box.mkdir()
    folder.chmod(0o755)
    yield Container(box)
    for path in (folder, *folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)


def test_the_server_runs_with_its_requirements_and_the_copied_files_only(container: Container) -> None:
    port = free_ports(4)
    cluster = container.state / "cluster.toml"
    brokers = {f"broker-{n}": f"tcp://127.0.0.1:{port + 2 + n}" for n in range(2)}
    tables = [f'[[brokers]]\nid = "{name}"\nendpoint = "{endpoint}"\n' for name, endpoint in brokers.items()]
    cluster.write_text("".join(tables))
    stored = ["--store=sqlite", f"--data={container.state}/data", "--insecure"]
    processes = [container.run(name, "broker", f"--id={name}", *stored, FANMAIL_CONFIG=cluster) for name in brokers]
    ports = {"FANMAIL_PORT": port, "FANMAIL_OPS_PORT": port + 1}
    processes.append(container.run("front", "httpfront", "--insecure", FANMAIL_CONFIG=cluster, **ports))
    try:
        for process in processes:
            wait_for(lambda process=process: process.event("serving"), f"{process.name} to serve")
        for name in brokers:  # what the probes look for
            mark = container.state / "run" / "private" / f"{name}.ready"
            wait_for(mark.exists, "the broker's mark")
        client = Client(port)
        wait_for(lambda: client.call("GET", "/readyz?strict=1").status == 200, "all brokers to be reached")
        topics = [f"t{n}" for n in range(20)]
        for topic in topics:
            client.subscribe(topic, "ann")
            client.publish(topic, b"hello")
        assert all(client.take(topic, "ann").body == b"hello" for topic in topics)
        operations = Client(port + 1)
        assert b"<title>" in operations.call("GET", "/").body
        assert b"fanmail_broker_up" in operations.call("GET", "/metrics").body
        assert [process.terminate() for process in reversed(processes)] == [0, 0, 0]
        assert not mark.exists()
        assert list(container.top.rglob("*.pyc")) == []
    finally:
        for process in processes:
            process.kill()
