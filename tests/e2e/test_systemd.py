"""`deploy/systemd/`: the units are valid and strict, and what they start serves, reloads and stops within their limits.

systemd itself does not run in a test: this starts `ExecStart=` with the unit's environment, listens as systemd would,
and allows the system calls that the unit allows.
"""

from __future__ import annotations

import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.e2e.cluster import PATIENCE, ROOT, Client, Process, free_ports, wait_for
from tests.e2e.test_metrics import tool
from tests.support.units import environment, read_unit, system_calls

pytestmark = pytest.mark.slow

UNITS = ROOT / "deploy" / "systemd"
FORWARD = "fanmail-forward.service"
NAMES = ("fanmail-broker@.service", "fanmail-front@.service", "fanmail-brokers.target", "fanmail.target", FORWARD)
NATS = UNITS / "replicated" / "nats.service"
MOST_EXPOSURE = 15
"""Of 100, as counted by `systemd-analyze security`; a unit without any hardening has 96."""


def analyze(folder: Path, *arguments: str, replicated: bool = False) -> subprocess.CompletedProcess[str]:
    """Run `systemd-analyze` with the units as they would be on a host where the server is installed, with keys."""
    for path in (*(UNITS / name for name in NAMES), NATS):
        (folder / path.name).write_text(path.read_text().replace("/opt/fanmail", str(ROOT)))
    of_brokers = UNITS / "replicated" / "fanmail-broker.conf" if replicated else UNITS / "curve-broker.conf"
    for each, path in (("broker", of_brokers), ("front", UNITS / "curve-front.conf")):
        extra = folder / f"fanmail-{each}@.service.d"
        extra.mkdir()
        shutil.copy(path, extra / "extra.conf")
    argv = [tool("systemd-analyze"), "--no-pager", *arguments]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.mark.parametrize("replicated", [False, True])
def test_systemd_finds_nothing_wrong_with_the_units(folder: Path, replicated: bool) -> None:
    names = [*NAMES, *([NATS.name] if replicated else [])]
    done = analyze(folder, "verify", "--man=no", *(f"./{name}" for name in names), replicated=replicated)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("name", [NATS.name, *(name for name in NAMES if name.endswith(".service"))])
def test_a_service_can_do_little_else(folder: Path, name: str) -> None:
    done = analyze(folder, "security", "--offline=true", f"--threshold={MOST_EXPOSURE}", f"./{name}")
    assert done.returncode == 0, done.stdout + done.stderr


class Host:
    """A host on which the units are installed, with all of its directories in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths = {f"/{name}/fanmail": str(folder / name.replace("/", "-")) for name in ("etc", "run", "var/lib")}
        self._paths["/opt/fanmail"] = str(ROOT)
        for path in self._paths.values():
            Path(path).mkdir(0o700, exist_ok=True)
        self.etc = folder / "etc"
        self._extra = ""
        self.install("cluster.toml", "cluster.toml")

    def here(self, text: str) -> str:
        for path, place in self._paths.items():
            text = text.replace(path, place)
        return text

    def replace(self, text: str, by: str) -> None:
        """Replace a text of the units, as a port."""
        self._paths[text] = by

    def install(self, example: str, name: str, **changed: object) -> None:
        """Install an example as a file of /etc/fanmail, with the values of some variables changed."""
        lines = (UNITS / example).read_text().splitlines()
        names = {line.partition("=")[0]: line for line in lines}
        assert changed.keys() <= names.keys()
        lines = [f"{key}={changed[key]}" if (key := line.partition("=")[0]) in changed else line for line in lines]
        (self.etc / name).write_text(self.here("\n".join(lines) + "\n"))

    def use_curve(self, first_port: int) -> None:
        """Make the brokers listen on TCP with keys that `bin/keys` has made."""
        argv = [sys.executable, "-m", "common.tools.keys", "curve", str(self.etc / "curve"), "b0", "b1", "front"]
        tables = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        path = self.etc / "cluster.toml"
        settings = tomllib.loads(path.read_text())["fanmail"]
        for n, broker in enumerate(("b0", "b1")):
            row = f'id = "{broker}"\n'
            assert row in tables
            tables = tables.replace(row, f'{row}endpoint = "tcp://127.0.0.1:{first_port + n}"\n')
        path.write_text(tables + "\n[fanmail]\n" + "".join(f'{key} = "{value}"\n' for key, value in settings.items()))
        self._extra = "curve-{}.conf"

    def start(self, name: str, instance: str) -> tuple[Process, socket.socket]:
        """Start the unit's `ExecStart=`. Return the process and the socket of its notifications."""
        credentials = self._folder / f"credentials-{instance}"
        extra = (UNITS / self._extra.format(name[8:].split("@")[0])).read_text() if self._extra else ""
        text = self.here((UNITS / name).read_text() + extra)
        unit = read_unit(text.replace("%i", instance).replace("%d", str(credentials)))
        for credential in unit.get("LoadCredential", []):
            credentials.mkdir(0o700)
            file, _, source = credential.partition(":")
            shutil.copy(source, credentials / file)
            (credentials / file).chmod(0o440)  # its mode if an access list lets the service read it
        files = [Path(value.removeprefix("-")) for value in unit["EnvironmentFile"]]
        variables = environment(unit, (path for path in files if path.exists()))
        heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        heard.bind(str(self._folder / f"{instance}.notify"))
        variables["NOTIFY_SOCKET"] = heard.getsockname()
        calls = ",".join(sorted(system_calls(tool("systemd-analyze"), unit)))
        families = ",".join(unit["RestrictAddressFamilies"][-1].split())
        sandbox = [sys.executable, "-m", "tests.support.sandbox", families, calls]
        clean = ["env", "-i", *(f"{key}={value}" for key, value in variables.items())]
        argv = [*sandbox, *clean, *shlex.split(unit["ExecStart"][0])]
        return Process(f"{name}-{instance}", argv, self._folder / f"{instance}.log"), heard


def hear(process: Process, heard: socket.socket) -> bytes:
    """Return the next notification of a running process."""
    heard.setblocking(False)

    def said() -> bytes:
        with suppress(BlockingIOError):
            return heard.recv(100)
        assert process.running or process.popen.returncode == 0, process.about()
        return b""

    return wait_for(said, f"{process.name} to report its state")


@pytest.fixture
def host(folder: Path) -> Iterator[Host]:
    return Host(folder)


@pytest.mark.parametrize("over", ["ipc", "curve"])
def test_what_the_units_start_serves_reloads_and_stops(host: Host, over: str) -> None:
    port = free_ports(4)
    if over == "curve":
        host.use_curve(port + 2)
    host.install("front.env", "front-0.env", FANMAIL_PORT=port, FANMAIL_OPS_PORT=port + 1)
    with ExitStack() as stack:
        started = {}
        for name, instance in [("broker", "b0"), ("broker", "b1"), ("front", "0")]:
            process, heard = host.start(f"fanmail-{name}@.service", instance)
            stack.callback(process.kill)
            stack.callback(heard.close)
            assert hear(process, heard) == b"READY=1"  # so that the next one may be started
            started[instance] = process, heard
        client = Client(port)
        wait_for(lambda: client.call("GET", "/readyz?strict=1").status == 200, "all brokers to be reached")
        topics = [f"t{n}" for n in range(20)]  # of both brokers
        for topic in topics:
            client.subscribe(topic, "ann")
            client.publish(topic, b"hello")
        for process, _ in started.values():
            process.signal(signal.SIGHUP)  # ExecReload=
        assert all(client.take(topic, "ann").body == b"hello" for topic in topics)
        assert client.call("GET", "/t0/ann").status == 204
        metrics = Client(port + 1).call("GET", "/metrics").body
        assert b"process_start_time_seconds" in metrics
        for instance in ("0", "b0", "b1"):  # the order in which the targets stop them
            process, heard = started[instance]
            assert process.terminate() == 0, process.about()
            assert hear(process, heard) == b"STOPPING=1"


def test_a_unit_is_not_started_again_where_that_mends_nothing(host: Host) -> None:
    """Expect that every `StartError` is exit code 2, which the units exclude from restarts."""
    process, heard = host.start("fanmail-broker@.service", "unheard-of")
    with heard:
        code = process.popen.wait(PATIENCE)
    unit = read_unit((UNITS / "fanmail-broker@.service").read_text())
    assert [str(code)] == unit["RestartPreventExitStatus"], process.about()
    assert process.log().count("\n") == 1


def test_the_unit_of_webhooks_starts_in_its_sandbox_and_stops(host: Host) -> None:
    port = free_ports(1)
    host.replace("--metrics-port=9300", f"--metrics-port={port}")
    host.install("forwards.toml", "forwards.toml")
    host.install("forward.env", "forward.env")
    (host.etc / "webhooks.secrets").write_text(f"whsec_{'A' * 32}\n")
    (host.etc / "webhooks.secrets").chmod(0o640)
    process, heard = host.start(FORWARD, "forward")
    with heard:
        wait_for(lambda: process.event("forwarding"), process.about())
        metrics = Client(port).call("GET", "/metrics").body
        assert b'fanmail_forward_failures_in_a_row{target="events/shop"} 0.0' in metrics
        assert b"process_start_time_seconds" in metrics
        assert process.terminate() == 0, process.about()
