"""Keys are added and removed while fronts run, by SIGHUP to `bin/start-fronts`. Only clients that lost a key notice."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartCluster, StartSupervised
from tests.e2e.cluster import Client, Cluster, Supervised, free_ports, wait_for
from tests.e2e.keys import bearer, write_keys

pytestmark = pytest.mark.slow

ALL = """subject = "crew"
allow = [{rights = ["publish"], topic = "*"}, {rights = ["subscribe", "consume"], topic = "*", user = "{sub}"}]"""
AGAIN, STAYS = "API keys read again", "the API keys stay as they were"


class Service:
    """One broker, and two fronts under their supervisor."""

    def __init__(self, cluster: Cluster, fronts: Supervised, first: int, path: Path) -> None:
        self.cluster, self.fronts, self.path = cluster, fronts, path
        self.ports = [first, first + 1]

    def hang_up(self, event: str = AGAIN, times: int = 1) -> None:
        """Send SIGHUP to the supervisor, and wait until both fronts have received it `times` times in total."""
        self.fronts.process.signal(signal.SIGHUP)
        wait_for(lambda: self.events(event) >= 2 * times, f"both fronts to say: {event}")

    def events(self, event: str) -> int:
        return sum(each["event"] == event for each in self.fronts.process.events())

    def status(self, port: int, key: str, letter: str = "s") -> int:
        client = Client(port)
        try:
            return client.call("POST", "/t", b"", bearer(key, letter)).status
        finally:
            client.close()

    def statuses(self, key: str) -> list[int]:
        return [self.status(port, key) for port in self.ports]


@pytest.fixture
def service(start_cluster: StartCluster, start_supervised: StartSupervised, folder: Path) -> Service:
    cluster = start_cluster(brokers=1, fronts=0)
    path = write_keys(folder / "keys.toml", {"old": ALL})
    first = free_ports(2)
    flags = [f"--port={first}", "--ops-port=0", f"--run-dir={cluster.run_dir}", f"--api-keys-file={path}"]
    fronts = start_supervised("start-fronts", "2", *flags)
    service = Service(cluster, fronts, first, path)
    wait_for(lambda: service.events("broker up") == 2, "the fronts to be ready")
    return service


class Load:
    """Two connections to each front that publish and read until the end, with a key that can be changed."""

    def __init__(self, ports: list[int], key: str) -> None:
        self.key = key
        self.answers: dict[str, int] = {}
        self._using: dict[int, str] = {}
        self.bad: list[object] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(port,)) for port in ports * 2]
        for thread in self._threads:
            thread.start()

    def _run(self, port: int) -> None:
        client = Client(port)
        while not self._stop.is_set():
            key = self._using[threading.get_ident()] = self.key
            for method, path in (("POST", "/t"), ("GET", "/t/crew")):
                try:
                    answer = client.call(method, path, b"x" if method == "POST" else None, bearer(key))
                except OSError as error:
                    self.bad.append(error)
                    continue
                if answer.status not in (200, 204):
                    self.bad.append(answer)
                self.answers[key] = self.answers.get(key, 0) + 1
        client.close()

    def more(self, key: str) -> None:
        """Wait for more than 100 further responses to requests with this key."""
        before = self.answers.get(key, 0)
        wait_for(lambda: self.bad or self.answers.get(key, 0) > before + 100, "the load to go on")

    def change(self, key: str) -> None:
        """Change the key, and wait until no request with the previous one is in progress."""
        self.key = key
        wait_for(lambda: set(self._using.values()) == {key}, "every thread to use the key")

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def load(service: Service) -> Iterator[Load]:
    client = Client(service.ports[0])
    assert client.call("POST", "/t/crew", headers=bearer("old")).status == 200
    client.close()
    load = Load(service.ports, "old")
    yield load
    load.end()


def test_keys_are_rotated_without_a_failed_request(service: Service, load: Load) -> None:
    load.more("old")
    write_keys(service.path, {"old": ALL, "new": ALL})
    service.hang_up()
    assert service.statuses("old") == service.statuses("new") == [200, 200]
    load.more("old")
    load.change("new")
    load.more("new")
    write_keys(service.path, {"new": ALL})
    service.hang_up(times=2)
    assert service.statuses("old") == [401, 401]
    load.more("new")
    assert service.statuses("new") == [200, 200]
    load.end()
    assert load.bad == []
    assert [service.fronts.exited(f"front-{port}") for port in service.ports] == [[], []]


def test_a_file_that_cannot_be_used_leaves_the_old_keys_in_force(service: Service) -> None:
    good = service.path.read_text()
    for number, broken in enumerate((good + "[[keys]]\n", good + "[[", "", good + good), 1):
        service.path.write_text(broken)
        service.hang_up(STAYS, number)
        assert service.statuses("old") == [200, 200]
    errors = [each for each in service.fronts.process.events() if each["event"] == STAYS]
    assert {each["level"] for each in errors} == {"error"}
    assert all(str(service.path) in each["reason"] for each in errors)
    service.path.unlink()
    service.hang_up(STAYS, 5)
    assert service.statuses("old") == [200, 200]
    write_keys(service.path, {"new": ALL})
    service.hang_up()
    assert (service.statuses("old"), service.statuses("new")) == ([401, 401], [200, 200])


def test_a_key_that_is_taken_away_ends_with_the_next_request_of_a_connection(service: Service) -> None:
    """Expect that a waiting long poll still gets its response."""
    client, waiting = Client(service.ports[0]), Client(service.ports[0])
    assert client.call("POST", "/t/crew", headers=bearer("old")).status == 200
    answers: list[int] = []
    poll = threading.Thread(
        target=lambda: answers.append(waiting.call("GET", "/t/crew?wait=30", headers=bearer("old")).status)
    )
    poll.start()
    wait_for(lambda: service.cluster.waiters() == 1, "the long poll")
    write_keys(service.path, {"new": ALL})
    service.hang_up()
    assert client.call("GET", "/t/crew", headers=bearer("old")).status == 401
    assert client.call("POST", "/t", b"x", bearer("new")).status == 200
    poll.join()
    assert answers == [200]
    assert waiting.call("GET", "/t/crew", headers=bearer("old")).status == 401
    client.close()
    waiting.close()
