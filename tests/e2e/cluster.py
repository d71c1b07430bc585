"""Real processes for tests: brokers, fronts and supervisors in a private run directory, and clients for them.

Nothing in here sleeps if a condition can be awaited. Whatever is started is killed at the end: by the fixture, or by
the kernel if the test run itself dies.
"""

from __future__ import annotations

import ctypes
import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import zmq

from common.cluster.description import DESCRIPTION, MAX_IPC_PATH, describe_local, load_cluster
from common.cluster.slots import ClusterMap
from common.protocol import ops, wire
from common.protocol.ops import Op
from tests.e2e.curve import describe, make_keys, options_for, pair_of
from tests.e2e.fork_server import MAINS, ForkServer, network

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0
"""Seconds; a test that waits longer for anything has failed."""
LOG_TAIL = 8000
"""Characters of a process's log that a failure shows."""
_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None).prctl

T = TypeVar("T")


def wait_for(condition: Callable[[], T | None], what: str = "", patience: float = PATIENCE) -> T:
    """Wait until a condition holds. Return its value.

    It is looked at ever less often, up to every 50 ms: what it waits for needs the processor, too.
    """
    began = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        waited = time.monotonic() - began
        assert waited < patience, f"waited in vain for {what or condition}"
        time.sleep(min(0.05, 0.005 + waited / 8))


class Ports:
    """A block of ports that no other test process of this machine gets."""

    def __init__(self, size: int = 400) -> None:
        self._claim = socket.socket(socket.AF_UNIX)
        for first in range(20000, 32000, size):
            with suppress(OSError):
                self._claim.bind(f"\0fanmail-test-ports-{first}")  # fails while another process has the name
                self._block = range(first, first + size)
                break
        else:
            raise AssertionError("no free ports")
        self._next = 0

    def take(self, count: int) -> int:
        """Return the first of `count` neighbouring ports that are unused; they do not come again soon."""
        for _ in range(2 * len(self._block)):
            if self._next + count > len(self._block):
                self._next = 0
            first = self._block[self._next]
            self._next += 1
            if all(map(_is_free, range(first, first + count))):
                self._next += count - 1
                return first
        raise AssertionError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@cache
def _ports() -> Ports:
    return Ports()


def free_ports(count: int) -> int:
    """Return the first of `count` neighbouring ports that are unused and not about to be used."""
    return _ports().take(count)


def flags_of(settings: Mapping[str, object]) -> list[str]:
    """Return settings as flags: `{"max_topics": 3}` as `["--max-topics=3"]`."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]


def clean_environ() -> dict[str, str]:
    """Return the environment without settings of the user who runs the tests."""
    ours = ("FANMAIL_", "PYTEST_CURRENT_TEST")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return environ | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}


def die_with_the_tests() -> None:
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


@cache
def _fork_server() -> ForkServer:
    return ForkServer(clean_environ())


class Process:
    """A child process whose standard error goes to a file. Only the main thread starts it."""

    def __init__(self, name: str, argv: list[str], log: Path, cwd: Path = ROOT) -> None:
        self.name = name
        self._log = log
        self._began = log.stat().st_size if log.exists() else 0
        environ = clean_environ()
        with log.open("ab") as stream:
            forkable = argv[:2] == [sys.executable, "-m"] and argv[2] in MAINS
            if forkable and (environ, network()) == (_fork_server().environ, _fork_server().network):
                self.popen: subprocess.Popen[bytes] = _fork_server().start(argv[2:], stream.fileno(), cwd)
                return
            self.popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                cwd=cwd,
                env=environ,
                preexec_fn=die_with_the_tests,
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def running(self) -> bool:
        return self.popen.poll() is None

    def log(self) -> str:
        """Return the log of this process so far."""
        return self._log.read_bytes()[self._began :].decode("utf-8", "backslashreplace")

    def events(self) -> list[dict[str, Any]]:
        """Return the complete JSON lines of the log."""
        lines = self.log().split("\n")[:-1]
        return [json.loads(line) for line in lines if line.startswith("{")]

    def event(self, name: str) -> dict[str, Any] | None:
        """Return the first line of the log about `name`."""
        assert self.running or self.popen.returncode == 0, self.about()
        return next((each for each in self.events() if each.get("event") == name), None)

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def kill(self) -> None:
        """Send SIGKILL, and wait for the end."""
        self.popen.kill()
        self.popen.wait(PATIENCE)

    def terminate(self) -> int:
        """Send SIGTERM. Return the exit code."""
        self.popen.terminate()
        return self.popen.wait(PATIENCE)

    def about(self) -> str:
        """Return the log for a failure's report, with only the last lines of the access log."""
        lines = self.log().splitlines()
        lines = [each for each in lines[:-10] if '"event":"request"' not in each] + lines[-10:]
        state = "running" if self.running else f"exit code {self.popen.returncode}"
        return f"--- {self.name} ({state}) ---\n" + "\n".join(lines)[-LOG_TAIL:]


class Answer(NamedTuple):
    """A complete HTTP response."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def code(self) -> str:
        """The stable code of a problem document."""
        assert self.headers["Content-Type"] == "application/problem+json", self
        return str(json.loads(self.body)["code"])


Body = bytes | Iterator[bytes] | None


class Client:
    """One keep-alive connection to a front, opened when it is needed. Paths are sent as they are given."""

    def __init__(self, port: int, timeout: float = PATIENCE) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        self.vanished = False
        """Set by tests that abort the connection."""

    def call(self, method: str, path: str, body: Body = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Send a request. Return its response. Raises OSError or HTTPException if there is no complete response."""
        try:
            self._connection.request(method, path, body, dict(headers or {}))
            response = self._connection.getresponse()
            return Answer(response.status, response.msg, response.read())
        except BaseException:
            self._connection.close()
            raise

    def open(self, path: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        """Send a GET. Return its response, whose body the caller reads."""
        self._connection.request("GET", path, headers=dict(headers))
        return self._connection.getresponse()

    def subscribe(self, topic: str, user: str) -> Answer:
        return self.call("POST", f"/{topic}/{user}")

    def unsubscribe(self, topic: str, user: str) -> Answer:
        return self.call("DELETE", f"/{topic}/{user}")

    def publish(self, topic: str, body: Body = b"", headers: Mapping[str, str] | None = None) -> Answer:
        return self.call("POST", f"/{topic}", body, headers)

    def take(self, topic: str, user: str) -> Answer:
        return self.call("GET", f"/{topic}/{user}")

    def drain(self, topic: str, user: str) -> list[bytes]:
        """Take all waiting messages of the user."""
        bodies = []
        while (answer := self.take(topic, user)).status == 200:
            bodies.append(answer.body)
        assert answer.status == 204, answer
        return bodies

    @property
    def connected(self) -> bool:
        return self._connection.sock is not None

    def ends_cleanly(self) -> bool:
        """Wait until the server closes the idle connection. Return whether it sent nothing.

        Raises OSError for a reset.
        """
        clean = bool(self._connection.sock.recv(1) == b"")
        self.close()
        return clean

    def close(self) -> None:
        self._connection.close()

    def abort(self) -> None:
        """Close the connection, from any thread, whatever it was waiting for."""
        sock = self._connection.sock
        if sock is not None:
            sock.shutdown(socket.SHUT_RDWR)


def is_ready(port: int, strict: bool = True) -> bool:
    """Return what `/readyz` of a front says; false if nothing listens."""
    client = Client(port)
    try:
        return client.call("GET", "/readyz?strict=1" if strict else "/readyz").status == 200
    except OSError:
        return False
    finally:
        client.close()


class Front:
    """A front process. `web` is the calling thread's keep-alive client."""

    def __init__(self, process: Process, port: int, ops_port: int = 0) -> None:
        self.process = process
        self.port = port
        self.ops_port = ops_port
        self._local = threading.local()

    def client(self, timeout: float = PATIENCE) -> Client:
        """Return a connection of its own."""
        return Client(self.port, timeout)

    @property
    def web(self) -> Client:
        if not hasattr(self._local, "client"):
            self._local.client = self.client()
        client: Client = self._local.client
        return client

    def ready(self, strict: bool = True) -> bool:
        """Return what its `/readyz` says."""
        return is_ready(self.port, strict)

    def forget(self) -> None:
        """Close this thread's connection."""
        if hasattr(self._local, "client"):
            self._local.client.close()


class Cluster:
    """Brokers and fronts in a run directory of their own, with or without a supervisor of the brokers."""

    def __init__(
        self,
        brokers: int = 2,
        fronts: int = 2,
        broker_settings: Mapping[str, object] | None = None,
        front_settings: Mapping[str, object] | None = None,
        supervised: bool = False,
        durable: bool = False,
        curve: bool = False,
    ) -> None:
        """Start a cluster.

        `supervised`: the brokers are started by `bin/start-brokers`, and `brokers` stays empty. `durable`: they keep
        their stores in `data`. `curve`: fronts and brokers speak CURVE over TCP, with keys in `keys`.
        """
        self.folder = short_folder()
        self.data = self.folder / "data"
        self.run_dir = self.folder / "run"
        self.run_dir.mkdir(0o700)
        self.description = self.run_dir / DESCRIPTION
        self.prefix: list[str] = []
        """Comes before the command line of what is started."""
        self.keys = self.folder / "keys"
        self.curve = curve
        common: dict[str, object] = {"curve_dir": self.keys} if curve else {}
        stored: dict[str, object] = {"store": "sqlite", "data": self.data} if durable else {}
        self._broker_settings = common | stored | dict(broker_settings or {})
        self._front_settings = common | dict(front_settings or {})
        self.processes: list[Process] = []
        self._names = itertools.count()
        self._zmq: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.supervisor: Supervised | None = None
        self.brokers: dict[str, Process] = {}
        self.fronts: list[Front] = []
        try:
            self._describe(brokers, supervised)
            self.map: ClusterMap = load_cluster(self.description)
            if not supervised:
                self.brokers = {each.id: self.start_broker(each.id) for each in self.map.brokers}
            self.fronts = [self.start_front() for _ in range(fronts)]
            self.await_ready()
        except BaseException:
            print(self.about())
            self.close()
            raise

    def _describe(self, brokers: int, supervised: bool) -> None:
        if self.curve:
            ids = [f"b{n}" for n in range(brokers)]
            self.description.write_text(self.describe_curve(make_keys(self.keys, *ids, "front"), self.addresses(ids)))
        elif not supervised:
            self.description.write_text(describe_local(brokers, self.run_dir))
        if not supervised:
            return
        flags = flags_of({"run_dir": self.run_dir, **self._broker_settings})
        which = f"--config={self.description}" if self.curve else str(brokers)
        self.supervisor = Supervised("start-brokers", self.folder, which, *flags)
        self.processes.append(self.supervisor.process)
        wait_for(self.description.exists, "the cluster description")

    def addresses(self, ids: list[str]) -> Mapping[str, str]:
        """Return the addresses of the brokers of a cluster over TCP."""
        first = free_ports(len(ids))
        return {broker_id: f"tcp://127.0.0.1:{first + n}" for n, broker_id in enumerate(ids)}

    def describe_curve(self, keys: Mapping[str, str], addresses: Mapping[str, str]) -> str:
        """Return the description of brokers that admit peers with the key `front`."""
        return describe({name: (at, keys[name]) for name, at in addresses.items()}, {"front": keys["front"]})

    def spawn(self, name: str, *argv: str) -> Process:
        """Start `python -m ...` with a log of its own."""
        log = self.folder / f"{next(self._names):02}-{name}.log"
        process = Process(name, [*self.prefix, sys.executable, "-m", *argv], log)
        self.processes.append(process)
        return process

    def start_broker(self, broker_id: str, *module: str, **settings: object) -> Process:
        """Start a broker of the description without waiting until it is ready.

        `module` and its arguments may replace the broker.
        """
        settings = {"run_dir": self.run_dir, "id": broker_id, **self._broker_settings, **settings}
        process = self.spawn(broker_id, *(module or ("broker",)), *flags_of(settings))
        self.brokers[broker_id] = process
        return process

    def kill_broker(self, broker_id: str) -> None:
        """Kill a broker with SIGKILL, and start it again without waiting until it is ready."""
        self.brokers[broker_id].kill()
        self.start_broker(broker_id)

    def kill_front(self, front: Front) -> None:
        """Kill a front with SIGKILL, and start another one at the same port in its place."""
        front.process.kill()
        front.process = self.start_front(front.port).process

    def start_front(self, port: int = 0, module: str = "httpfront", **settings: object) -> Front:
        """Start a front without waiting until it is ready. `module` may replace it."""
        settings = {"run_dir": self.run_dir, "port": port, "ops_port": 0, **self._front_settings, **settings}
        process = self.spawn("front", module, *flags_of(settings))
        serving = wait_for(lambda: process.event("serving"), "the front to listen")
        return Front(process, int(serving["port"]), int(serving["ops_port"]))

    def await_ready(self) -> None:
        """Wait until every front can reach every broker."""
        for front in self.fronts:
            wait_for(front.ready, f"front {front.port} to be ready")

    def topic(self, broker_id: str, stem: str) -> str:
        """Return a topic name that begins with `stem` and belongs to a broker."""
        names = (f"{stem}-{n}" for n in itertools.count())
        return next(name for name in names if self.map.owner(name.encode()) == broker_id)

    def peer(self, broker_id: str, **options: Any) -> Peer:
        """Return a raw DEALER that speaks to a broker, with the key of fronts if one is necessary."""
        address = self.map.address(broker_id)
        if address.key:
            options = options_for(pair_of(self.keys, "front"), address.key) | options
        return Peer(self._zmq, self.map.name, broker_id, address.endpoint, self.map.epoch, options)

    def stats(self, broker_id: str) -> dict[str, int]:
        """Return the gauges and counters of a broker."""
        with self.peer(broker_id) as peer:
            return peer.stats()

    def broker_pid(self, broker_id: str) -> int:
        """Return the process id in the lock file of a broker, 0 if there is none yet."""
        return int((self.run_dir / f"{broker_id}.lock").read_text() or 0)

    def held(self) -> dict[str, int]:
        """Return the topics, subscriptions, messages and content bytes of all brokers together."""
        each = [self.stats(broker.id) for broker in self.map.brokers]
        names = ("topics", "subscriptions", "messages", "content_bytes")
        return {name: sum(stats[name] for stats in each) for name in names}

    def waiters(self) -> int:
        """Return the number of parked requests of all brokers together."""
        return sum(self.stats(broker.id)["waiters"] for broker in self.map.brokers)

    def about(self) -> str:
        """Return the logs of all processes for a failure's report."""
        return "\n".join(process.about() for process in self.processes)

    def close(self) -> None:
        """Kill everything, and remove the directory."""
        for front in self.fronts:
            front.forget()
        if self.supervisor is not None:
            self.supervisor.close()
        for process in self.processes:
            process.popen.kill()
        for process in self.processes:
            process.popen.wait(PATIENCE)
        self._zmq.destroy(linger=0)
        shutil.rmtree(self.folder, ignore_errors=True)


class Supervised:
    """`bin/start-brokers` or `bin/start-fronts`, and the processes that it starts."""

    def __init__(self, script: str, folder: Path, *arguments: str, cwd: Path = ROOT) -> None:
        argv = [str(ROOT / "bin" / script), *arguments, "--log-format=json"]
        self.process = Process(script, argv, folder / f"{script}-{time.monotonic_ns()}.log", cwd)
        self._folder = str(folder)
        self._seen: set[int] = set()

    def children(self) -> list[int]:
        """Return the process ids of the running children."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        children = [int(pid) for pid in path.read_text().split()]
        self._seen.update(children)
        return children

    def exited(self, child: str) -> list[dict[str, Any]]:
        """Return the log's lines about the deaths of a child."""
        return [
            each for each in self.process.events() if each["event"].startswith("exited") and each.get("child") == child
        ]

    def close(self) -> None:
        """Stop it and its children, by force if necessary."""
        if self.process.running:
            self.process.popen.terminate()
            try:
                self.process.popen.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
        for pid in self._seen:
            self._kill_left_over(pid)

    def _kill_left_over(self, pid: int) -> None:
        with suppress(OSError):
            if self._folder in Path(f"/proc/{pid}/cmdline").read_text():  # not another one with the same id
                os.kill(pid, signal.SIGKILL)


class Reply(NamedTuple):
    """A broker's reply to one request: an error code or "", and the result or the detail."""

    id: int
    code: str
    result: Any
    incarnation: int


class Peer:
    """A DEALER that speaks the wire protocol itself, as a front would, or worse."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        cluster: str,
        broker_id: str,
        endpoint: str,
        epoch: int,
        options: Mapping[str, Any],
    ) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVTIMEO, int(PATIENCE * 1000))
        self.socket.setsockopt(zmq.SNDTIMEO, int(PATIENCE * 1000))
        for name, value in options.items():
            self.socket.setsockopt(getattr(zmq, name), value)
        self.socket.connect(endpoint)
        self._cluster, self._broker, self._epoch = cluster, broker_id, epoch
        self._ids = itertools.count(1)
        self.incarnation = 0
        self.clock = 0
        """Microseconds of the broker's clock when it last answered."""

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close(linger=0)

    def ping(self) -> ops.Pong:
        """Return who answers. Later requests are for this incarnation."""
        reply = self.ask(Op.PING, args=ops.Ping(self._cluster, self._broker), incarnation=0)
        self.incarnation = reply.incarnation
        pong: ops.Pong = reply.result
        return pong

    def stats(self) -> dict[str, int]:
        values: dict[str, int] = self.ask(Op.STATS).result.values
        return values

    def ask(self, op: Op, topic: str = "", user: str = "", args: Any = None, **frame: int) -> Reply:
        """Send one request. Return its reply. `frame` may name incarnation and deadline."""
        if op not in (Op.PING, Op.STATS) and not self.incarnation:
            self.ping()
        self.send([(op, topic, user, args or ops.Nothing())], **frame)
        while not (replies := self.receive()):
            pass  # a candidate says that it has become the owner
        return replies[0]

    def send(
        self,
        requests: list[tuple[Op, str, str, Any]],
        incarnation: int | None = None,
        deadline: int | None = None,
    ) -> None:
        """Send requests in one message, by default for the known incarnation and with enough time."""
        until = self.clock + int(PATIENCE * 2e6) if deadline is None else deadline
        packed = [
            wire.pack_request(next(self._ids), op, topic.encode(), user.encode(), until, args)
            for op, topic, user, args in requests
        ]
        self._ops = [op for op, *_ in requests]
        meant_for = self.incarnation if incarnation is None else incarnation
        self.socket.send(wire.pack_requests(meant_for, self._epoch, packed))

    def receive(self) -> list[Reply]:
        """Return the replies of the next message, with results unpacked as those of the last `send`."""
        frames = self.socket.recv_multipart()
        frame = wire.unpack_replies(frames)
        self.clock = frame.clock
        replies = []
        for reply, op in zip(frame.replies, itertools.chain(self._ops, itertools.repeat(self._ops[-1])), strict=False):
            error = wire.unpack_error(reply.code, reply.result).detail if reply.code else None
            unpack = (lambda raw, error=error: error) if reply.code else lambda raw, op=op: wire.unpack_result(op, raw)
            result = unpack(reply.result)
            if isinstance(result, ops.Message) and len(frames) == 2:
                result.body = frames[1]
            replies.append(Reply(reply.id, reply.code, result, frame.incarnation))
        return replies


def short_folder() -> Path:
    """Return a new private directory whose path is short enough for sockets in it."""
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    if len(f"{folder}/run/b00.sock") > MAX_IPC_PATH:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="fm-", dir="/tmp"))
    return folder
