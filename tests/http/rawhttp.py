"""A raw-socket HTTP client and a server in a thread, for tests that look at the bytes."""

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from greenlet import getcurrent

from httpfront.budget import Budget
from httpfront.environ import REQUEST_ID, ROUTE
from httpfront.hub import Hub
from httpfront.server.options import ServerOptions
from httpfront.server.request_summary import OnRequest
from httpfront.server.server import FrontServer

PATIENCE = 20.0  # seconds; a test that waits longer has failed


@dataclass
class Answer:
    """One response. Header names are in lower case; the last of repeated ones is kept."""

    status: int
    headers: dict[str, str]
    body: bytes
    head: bytes


class Client:
    """One connection. Reads whole answers; `tiny` gives it small kernel buffers, set before connecting."""

    def __init__(self, port: int, tiny: bool = False, host: str = "127.0.0.1") -> None:
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if tiny:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.settimeout(PATIENCE)
        self.sock.connect((host, port))
        self._rest = b""

    def send(self, *pieces: bytes, pause: float = 0.0) -> "Client":
        """Sends the pieces one by one, with a pause between them."""
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number, piece in enumerate(pieces):
            if number:
                time.sleep(pause)
            self.sock.sendall(piece)
        return self

    def answer(self, to_head: bool = False) -> Answer:
        """The next answer. EOFError when the server closes before its end; `to_head` expects no body."""
        while b"\r\n\r\n" not in self._rest:
            self._more()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        status = int(first.split(" ")[1])
        size = 0 if to_head or status in (100, 204, 304) else int(headers["content-length"])
        while len(self._rest) < size:
            self._more()
        body, self._rest = self._rest[:size], self._rest[size:]
        return Answer(status, headers, body, head)

    def get(self, target: str, *headers: str) -> Answer:
        """One GET and its answer."""
        return self.send(get(target, *headers)).answer()

    def at_end(self) -> bool:
        """Waits for the server to close; whether without another byte. ConnectionError for a reset."""
        return not self._rest and self.sock.recv(1) == b""

    def close(self) -> None:
        self.sock.close()

    def _more(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise EOFError(f"closed after {self._rest[:100]!r}")
        self._rest += data

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def get(target: str, *headers: str, version: str = "1.1") -> bytes:
    """A GET as bytes."""
    return "\r\n".join([f"GET {target} HTTP/{version}", "Host: test", *headers, "", ""]).encode("latin-1")


def post(target: str, body: bytes, *headers: str) -> bytes:
    """A POST with Content-Length as bytes."""
    lines = [f"POST {target} HTTP/1.1", "Host: test", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def chunked(target: str, *chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """A POST with a chunked body as bytes."""
    head = f"POST {target} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end


@dataclass
class Echo:
    """An application for tests. It notes every request it serves.

    /204 answers nothing; /big?N gives N bytes; /wait answers when `gate` is set; /gone when the client has
    disconnected or `gate` is set; /fail raises; /inject puts a line end into a header; the rest is echoed.
    """

    gate: threading.Event = field(default_factory=threading.Event)
    served: list[str] = field(default_factory=list)
    environs: list[dict[str, Any]] = field(default_factory=list)
    disconnected: threading.Event = field(default_factory=threading.Event)
    hub: Hub | None = None
    parked: list[tuple[Callable[[], Any], Any]] = field(default_factory=list)

    def until(self, condition: Callable[[], Any]) -> None:
        """Parks the request until the condition holds; the loop checks it a few times per second."""
        assert self.hub is not None
        if not condition():
            self.parked.append((condition, getcurrent()))
            self.hub.park()

    def look(self) -> None:
        """Called by the loop: continues the requests whose condition holds."""
        assert self.hub is not None
        due = [each for each in self.parked if each[0]()]
        self.parked = [each for each in self.parked if each not in due]
        for _, parked in due:
            self.hub.resume(parked, None)

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        body = environ["wsgi.input"].read()
        self.environs.append(environ)
        self.served.append(path)
        environ[ROUTE], environ[REQUEST_ID] = "echo", "r1"
        if path == "/fail":
            raise RuntimeError("as asked")
        if path == "/204":
            start("204 No Content", [])
            return []
        if path == "/big":
            body = b"x" * int(environ["QUERY_STRING"])
        if path == "/wait":
            self.until(self.gate.is_set)
        if path == "/gone":
            gone = environ["waitress.client_disconnected"]
            self.until(lambda: gone() or self.gate.is_set())
            if gone():
                self.disconnected.set()
        value = "a\r\nX-Evil: 1" if path == "/inject" else path
        start("200 OK", [("content-type", "text/plain"), ("X-PATH", value)])
        return [body]


@contextmanager
def running(
    app: Callable[..., Any], on_request: OnRequest | None = None, budget: Budget | None = None, **options: Any
) -> Iterator[FrontServer]:
    """A server in a thread; checks at the end that its loop ended by itself."""
    settings: dict[str, Any] = {"hosts": ["127.0.0.1"], "port": 0, "connections": 100}
    hub = Hub()
    server = FrontServer(app, ServerOptions(**settings | options), hub, on_request, budget)
    if isinstance(app, Echo):
        app.hub = hub
        hub.every(0.01, app.look)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        if isinstance(app, Echo):
            app.gate.set()
        drain(server, 0, 0)
        thread.join(PATIENCE)
        assert not thread.is_alive()
        hub.close()


def drain(server: FrontServer, timeout: float, idle: float) -> None:
    """Asks the loop's thread to drain."""
    server.hub.spawn(lambda: server.drain(timeout, idle))
    server.hub.wake()


def wait_for(condition: Callable[[], Any]) -> None:
    """Waits until the condition holds."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.005)
