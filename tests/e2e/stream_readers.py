"""Clients of a load that read by streams, each of which is cut at a random moment; the next one continues.

The client of a stream is a process of its own (`stream_client.py`), which confirms what it has handled, or lets time
confirm. It is killed, stopped for a while and killed, or cut off by a proxy, or it ends because its front does.
"""

from __future__ import annotations

import json
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.e2e.checker import seq_of
from tests.e2e.clients import PAUSE
from tests.e2e.cutting_proxy import SWALLOW, WAYS, CuttingProxy
from tests.e2e.history import Mode, Outcome, Take
from tests.e2e.readers import Reader

if TYPE_CHECKING:
    from tests.e2e.load import Load

CLIENT = Path(__file__).with_name("stream_client.py")
CONFIRM_S = 0.5
"""Seconds of a timed `confirm`."""
STOPPED_S = 2 * CONFIRM_S + 2.0
"""Seconds for which a client is stopped before it is killed. What time confirms is noted, and sent, once per second."""
SILENCE_S = 10.0
"""Seconds after which nothing more comes in the last stream of a reader with nothing pending."""
FIRST_S, LEFT_ALONE_S = 0.4, 2.0
"""The longest that a stream lasts before its fault, and before it is killed where it was left to those of its front."""
LEFT_ALONE = "left alone"
FAULTS = ("killed", "reset", "stopped", LEFT_ALONE, *WAYS)
STALLS = ("stopped", SWALLOW)
"""Faults during which the server sends to a client that does not read."""


class StreamProcess:
    """The client of one stream, and what it has said."""

    def __init__(self, asked: dict[str, Any], hear: Callable[[dict[str, Any]], None]) -> None:
        """Start it; `hear` is given each line that it says."""
        argv = [sys.executable, "-I", "-S", str(CLIENT), json.dumps(asked)]
        # Started by a thread, without `preexec_fn`: it ends when nobody reads what it says.
        self.popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self.popen.stdout is not None
        self._pipe = self.popen.stdout
        self._hear = hear
        self._text = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._pipe, selectors.EVENT_READ)

    def listen(self, seconds: float) -> bool:
        """Read what it sends for this time; return whether it is still open."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._selector.select(left):
                data = self._pipe.read1(65536)  # type: ignore[attr-defined]
                if not data:
                    return False
                *lines, self._text = (self._text + data).split(b"\n")
                for line in lines:
                    self._hear(json.loads(line))
        return True

    def end(self, number: signal.Signals) -> None:
        """Send the signal, and hear what it had said."""
        self.popen.send_signal(number)
        while self.listen(1.0):
            pass

    def close(self) -> None:
        self.popen.kill()
        self.popen.wait()
        self._selector.close()
        self._pipe.close()


class StreamReader(Reader):
    """A reader by streams with `confirm=client`."""

    mode = Mode.AFTER
    confirm = "client"
    forms: tuple[str, ...] = ("sse", "ndjson")
    faults: tuple[str, ...] = FAULTS

    def __init__(self, load: Load, name: str, topic: str, number: int, going: threading.Event, user: str) -> None:
        super().__init__(load, name, topic, number, going, user)
        self.ends: Counter[str] = Counter()
        """Streams by what ended them."""
        self.cut = 0
        """Streams that this reader has cut."""
        self.gaps = 0
        """Messages that were announced as missed."""
        self._last = ""
        """The id of the last message that was handled, or of the place before the first one."""
        self._seen = 0
        """Its sequence number, or the last one that was missed."""
        self._began, self._cursor, self._fault = 0.0, "", ""
        self._opened = False
        self._proxy: CuttingProxy | None = None

    def run(self) -> None:
        while not self.abandoned:
            if not self._free.is_set():
                self._paused.set()
                self._free.wait()
            going = self._going.is_set()
            process = self._start(self._rng.choice(self.faults) if going else "")
            try:
                if going:
                    self._suffer(process)
                elif self._read_out(process):
                    process.end(signal.SIGTERM)
                    return
            finally:
                process.close()
                if self._proxy is not None:
                    self._proxy.close()
                    self._proxy = None

    def _start(self, fault: str) -> StreamProcess:
        """Start a stream, with and without `Last-Event-ID`, at any front."""
        ports = self._load.ports
        port, patch_port = self._rng.choice(ports), self._rng.choice(ports)
        if fault in WAYS:
            self._proxy = CuttingProxy(port, STOPPED_S)
            port = self._proxy.port
        self._fault = fault
        self._cursor = self._last if not fault or self._says_where_it_was() else ""
        asked = {"port": port, "patch_port": patch_port, "path": f"/{self.topic}/{self.user}", "confirm": self.confirm}
        asked["form"] = self._rng.choice(self.forms)
        self._began, self._opened = time.monotonic(), False
        return StreamProcess(asked | {"last": self._cursor}, self._hear)

    def _says_where_it_was(self) -> bool:
        return self._rng.random() < 0.5

    def _suffer(self, process: StreamProcess) -> None:
        fault, rng = self._fault, self._rng
        there = process.listen(rng.uniform(0, LEFT_ALONE_S if fault == LEFT_ALONE else FIRST_S))
        while there and fault in STALLS and not self._opened:
            there = process.listen(PAUSE)
        if not there:
            self.ends["its front or broker"] += 1
            time.sleep(PAUSE)
            return
        if fault == "stopped":
            process.popen.send_signal(signal.SIGSTOP)
            time.sleep(STOPPED_S)
        if self._proxy is not None:
            self._proxy.cut(fault)
            self._proxy = None
            while process.listen(1.0):
                pass
        else:
            process.end(signal.SIGTERM if fault == "reset" else signal.SIGKILL)
        self.ends[fault] += 1
        self.cut += 1

    def _read_out(self, process: StreamProcess) -> bool:
        """Read until nothing is left; return whether the stream lasted until then."""
        path = f"/{self.topic}/{self.user}"
        while process.listen(0.1) and not self.abandoned:
            stored = [each.msg_id for each in self._load.history.publishes if each.topic == self.topic and each.msg_id]
            answer, _ = self.attempt(lambda web: web.call("HEAD", path))
            left = answer is None or answer.status != 200 or answer.headers["Msg-Pending"] != "0"
            now = time.monotonic()
            everything = self._seen >= max(map(seq_of, stored), default=0)
            if not left and (everything or now > self._began + SILENCE_S):  # then the checker says what is lost
                self._load.history.add(Take(self.name, self.topic, now, now, Outcome.OK, self.user, mode=self.mode))
                return True
        return False

    def _hear(self, said: dict[str, Any]) -> None:
        """Record a line of the client."""
        if "confirmed" in said:
            self._note(said["at"], said["at"], cursor=said["confirmed"])
        elif said.get("event") == "gap":
            first, stop = seq_of(said["from"]), seq_of(said["position"])
            missed = max(0, stop - max(first, self._seen + 1))
            self.gaps += missed
            self.got += missed
            self._seen = max(self._seen, stop - 1)
            self._note(self._began, said["at"], gap=range(first, stop))
        elif said.get("id"):
            self._note(self._began, said["at"], body=said["text"].encode(), msg_id=said["id"])
            self._last, seq = said["id"], seq_of(said["id"])
            self.got += seq > self._seen
            self._seen = max(self._seen, seq)
        elif "start" in said:
            self._last = self._last or said["start"]
        elif "event" in said:
            self.ends[f"event: {said['event']}"] += 1
        elif said.get("status") == 200:
            self._opened = True
        elif "status" in said:
            self.ends[f"answered {said['status']}"] += 1

    def _note(self, invoked: float, done: float, **more: Any) -> None:
        cursor = more.pop("cursor", self._cursor)
        take = Take(self.name, self.topic, invoked, done, Outcome.OK, self.user, mode=self.mode, cursor=cursor, **more)
        self._load.history.add(take)


class TimedStreamReader(StreamReader):
    """A reader by streams whose messages are done by time. It always says where it was, as `EventSource` does."""

    mode = Mode.TIMED
    confirm = f"{CONFIRM_S}"
    forms = ("sse",)
    faults = (*FAULTS, *STALLS)

    def _says_where_it_was(self) -> bool:
        return True


STREAM_READERS: dict[str, type[Reader]] = {"stream": StreamReader, "timed-stream": TimedStreamReader}
