"""Clients of a load that publish and read by sessions of the Python client, which are cut at random moments.

The client of a session is a process (`session_client.py`). It is killed, or a proxy cuts its connection and it goes on
by another one, or it is left to what happens to its front and its broker.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from fanmail import Client, Refused, Retries, Unavailable
from fanmail.message import Published
from tests.e2e.clients import PAUSE
from tests.e2e.cluster import ROOT, clean_environ
from tests.e2e.cutting_proxy import WAYS, CuttingProxy
from tests.e2e.history import Ack, Mode, Outcome, Publish, Take
from tests.e2e.publishers import Publisher
from tests.e2e.readers import Reader

if TYPE_CHECKING:
    from tests.e2e.load import Load

PATIENT = Retries(total=60.0, base=0.02, max_pause=0.2)
IN_FLIGHT = 20
"""The publishes that a publisher has in flight."""
LEASE_S = 2
"""Seconds: what a killed front cannot give back returns soon."""
SWALLOW_S, SILENCE_S = 2.0, 3.0
"""Seconds for which a proxy reads for a client that is gone, and after which nothing more comes at the end."""
LEFT_ALONE = "left alone"
SESSION_FAULTS = ("killed", LEFT_ALONE, *WAYS)
FIRST_S, GO_ON_S, ALONE_S = 0.6, 0.6, 3.0
"""The longest that a session lasts before its fault, after a cut connection, and where it is left alone."""


class SessionProcess:
    """The process that forks a client for each session, and what they say."""

    def __init__(self) -> None:
        environ = clean_environ() | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'client' / 'src'}"}
        argv = [sys.executable, "-m", "tests.e2e.session_client"]
        self._popen = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=environ)
        assert self._popen.stdout is not None
        self._pipe = self._popen.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._pipe, selectors.EVENT_READ)
        self._text = b""
        self.child = 0
        """The process of the session, if there is one."""
        self.told: list[dict[str, Any]] = []
        """What the client of the session has said and nobody has taken."""

    def start(self, **asked: Any) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.write(json.dumps(asked).encode() + b"\n")
        self._popen.stdin.flush()
        while not self.child:
            self.listen(1.0)

    def listen(self, seconds: float) -> bool:
        """Read what the client says, until it has said something; return whether the session lasts."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._selector.select(left):
                data = self._pipe.read1(65536)  # type: ignore[attr-defined]
                assert data, "the process that forks has ended"
                *lines, self._text = (self._text + data).split(b"\n")
                for line in lines:
                    self._hear(json.loads(line))
            if not self.child:
                return False
            if self.told:
                return True
        return True

    def _hear(self, said: dict[str, Any]) -> None:
        if "pid" in said:
            self.child = said["pid"]
        elif "ended" in said:
            self.child = 0
        else:
            self.told.append(said)

    def kill(self) -> None:
        """Kill the session, and hear what it had said."""
        if self.child:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(self.child, signal.SIGKILL)
        while self.child:
            self.listen(1.0)

    def close(self) -> None:
        self.kill()
        self._popen.communicate()
        self._selector.close()


class SessionReader(Reader):
    """A reader by sessions with mode `after`."""

    mode = Mode.AFTER
    name_of_mode = "after"
    hasty = False
    faults: tuple[str, ...] = SESSION_FAULTS

    def __init__(self, load: Load, name: str, topic: str, number: int, going: threading.Event, user: str) -> None:
        super().__init__(load, name, topic, number, going, user)
        self.ends: Counter[str] = Counter()
        """Sessions by what was done to them, and what else was said."""
        self.cut = 0
        """The number of cuts."""
        self.gaps = 0
        """The number of gaps of which its clients were told: what a killed one had acknowledged."""
        self._seen: set[str] = set()
        self._began = 0.0
        self._tried: dict[str, float] = {}

    def run(self) -> None:
        process = SessionProcess()
        try:
            while not self.abandoned:
                going = self._going.is_set()
                if going:
                    self._suffer(process, self._rng.choice(self.faults))
                elif self._read_out(process):
                    return
        finally:
            process.close()
            self._take(process)

    def _start(self, process: SessionProcess, ports: list[int]) -> None:
        self._began = time.monotonic()
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        about = {"topic": self.topic, "user": self.user, "mode": self.name_of_mode, "lease": LEASE_S}
        about |= {"window": self._rng.choice((1, 10, 100)), "hasty": self.hasty, "careful": not self._going.is_set()}
        process.start(urls=urls, **about)

    def _suffer(self, process: SessionProcess, fault: str) -> None:
        """Begin a session, cut it, and kill its client in the end."""
        rng, ports = self._rng, list(self._load.ports)
        rng.shuffle(ports)
        proxy = CuttingProxy(ports[0], SWALLOW_S) if fault in WAYS else None
        try:
            self._start(process, [proxy.port, *ports] if proxy else ports)
            self._listen(process, rng.uniform(0, ALONE_S if fault == LEFT_ALONE else FIRST_S))
            if proxy is not None:
                threading.Thread(target=proxy.cut, args=(fault,)).start()
                self.cut += 1
                self._listen(process, rng.uniform(0, GO_ON_S))
        finally:
            if proxy is not None:
                with contextlib.suppress(OSError):
                    proxy.close()
        process.kill()
        self._take(process)
        self._forget()
        self.cut += 1
        self.ends[fault] += 1

    def _listen(self, process: SessionProcess, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and process.listen(left):
            self._take(process)

    def _read_out(self, process: SessionProcess) -> bool:
        """Read until nothing is left; return whether the session lasted until then."""
        self._start(process, list(self._load.ports))
        heard = time.monotonic()
        while not self.abandoned and process.listen(0.1):
            heard = time.monotonic() if process.told else heard
            self._take(process)
            now = time.monotonic()
            if self._nothing_is_left() and (self._has_all() or now > heard + SILENCE_S):  # then something is lost
                process.kill()
                self._take(process)
                self._load.history.add(Take(self.name, self.topic, now, now, Outcome.OK, self.user, mode=self.mode))
                return True
        return False

    def _nothing_is_left(self) -> bool:
        answer, _ = self.attempt(lambda web: web.call("HEAD", f"/{self.topic}/{self.user}"))
        if answer is None or answer.status != 200:
            return False
        return answer.headers["Msg-Pending"] == answer.headers["Msg-Leased"] == "0"

    def _has_all(self) -> bool:
        stored = [each for each in self._load.history.publishes if each.topic == self.topic and each.msg_id]
        return all(each.msg_id in self._seen for each in stored)

    def _take(self, process: SessionProcess) -> None:
        told, process.told = process.told, []
        for said in told:
            self._record(said)

    def _record(self, said: dict[str, Any]) -> None:
        """Record what the client of a session has said."""
        at = said["at"]
        if "id" in said:
            self._note(said["id"], body=said["text"].encode(), attempt=said.get("attempt", 1), at=at)
        elif "confirmed" in said:
            take = Take(self.name, self.topic, at, at, Outcome.OK, self.user, mode=self.mode, cursor=said["confirmed"])
            self._load.history.add(take)
        elif "tried" in said:
            self._tried[said["tried"]] = at
        elif "acked" in said or "lost" in said:
            self._acknowledged(said, at)
        elif "gap" in said:
            self.gaps += 1
        else:
            self.ends[said["failed"]] += 1

    def _note(self, msg_id: str, body: bytes, attempt: int, at: float) -> None:
        began = at if self.mode is Mode.LEASE else self._began
        about: dict[str, Any] = {"body": body, "msg_id": msg_id, "attempt": attempt}
        self._load.history.add(Take(self.name, self.topic, began, at, Outcome.OK, self.user, mode=self.mode, **about))
        if msg_id not in self._seen:
            self._seen.add(msg_id)
            self.got += 1

    def _acknowledged(self, said: dict[str, Any], at: float) -> None:
        msg_id = said.get("acked") or said["lost"]
        began = self._tried.pop(msg_id)
        ack = Ack(self.name, self.topic, began, at, Outcome.OK, self.user, (msg_id,), (msg_id,))
        if "lost" in said:
            ack.outcome, ack.confirmed = Outcome.FAILED, ()
        self._load.history.add(ack)

    def _forget(self) -> None:
        """Note the acknowledgements that a killed client had under way."""
        now = time.monotonic()
        for msg_id, began in self._tried.items():
            self._load.history.add(Ack(self.name, self.topic, began, now, Outcome.UNKNOWN, self.user, (msg_id,)))
        self._tried.clear()


class HastySessionReader(SessionReader):
    """A reader that acknowledges before it handles: a negative control."""

    hasty = True
    faults = ("killed",)


class LeaseSessionReader(SessionReader):
    """A reader by sessions with leases."""

    mode = Mode.LEASE
    name_of_mode = "lease"


class SessionPublisher(Publisher):
    """A publisher with many publishes in flight over one session, each with a key that the client makes."""

    def run(self) -> None:
        urls = [f"http://127.0.0.1:{port}" for port in self._load.ports]
        number = 0
        with Client(urls, retries=PATIENT) as client, client.session(in_flight=IN_FLIGHT) as session:
            while self._going.is_set() and not self.abandoned:
                if self._load.behind(self.topic):
                    time.sleep(PAUSE)
                    continue
                number += 1
                note = self.note(Publish, body=f"{self.name} {number}".encode(), key=f"{number}")
                assert isinstance(note, Publish)
                self._load.history.add(note)
                session.publish_soon(self.topic, note.body).add_done_callback(partial(self._answered, note))
                time.sleep(self._load.pace_s / IN_FLIGHT)

    def _answered(self, note: Publish, answer: Future[Published]) -> None:
        error = answer.exception()
        if error is None:
            note.outcome, note.msg_id = Outcome.OK, answer.result().id or ""
            self.sent += 1
            self.succeeded += 1
        else:
            note.outcome = Outcome.FAILED if isinstance(error, Unavailable | Refused) else Outcome.UNKNOWN
        note.done = time.monotonic()


SESSION_READERS: dict[str, type[Reader]] = {
    "session": SessionReader,
    "hasty-session": HastySessionReader,
    "lease-session": LeaseSessionReader,
}
SESSION_PUBLISHERS: dict[str, type[Publisher]] = {"session": SessionPublisher}
