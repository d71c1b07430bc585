"""`python -m bench.rivals.bare`: a Falcon application with constant answers, the baseline of the fronts.

`--server=waitress` runs it on unmodified waitress with settings like ours; `--server=fanmail` runs it on our server
classes, which separates the cost of the server from that of the rest of a front.
"""

from __future__ import annotations

import argparse
import signal
from typing import Any

import falcon
import waitress

from common.process.readiness import die_with_parent
from httpfront.hub import Hub
from httpfront.server.options import ServerOptions
from httpfront.server.server import FrontServer

THREADS = 32
CONNECTIONS = 1000


class Constant:
    """GET has a constant answer."""

    def __init__(self, answer: str, size: int) -> None:
        self._status = falcon.HTTP_204 if answer == "204" else falcon.HTTP_200
        self._data = b"x" * size

    def on_get(self, req: falcon.Request, resp: falcon.Response, topic: str, user: str) -> None:
        resp.status = self._status
        resp.data = self._data


class Sink:
    """POST reads the body and answers 200 with an empty body."""

    def on_post(self, req: falcon.Request, resp: falcon.Response, topic: str) -> None:
        req.stream.read()
        resp.data = b""


class Ready:
    """Readiness check of the harness."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.data = b"ready"


def main() -> None:
    """Serve until SIGTERM."""
    die_with_parent()
    parser = argparse.ArgumentParser(prog="bench.rivals.bare")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--server", choices=("waitress", "fanmail"), required=True)
    parser.add_argument("--answer", choices=("200", "204"), default="200", help="status of GET")
    parser.add_argument("--size", type=int, default=0, help="body size of GET in bytes")
    options = parser.parse_args()
    app: falcon.App[Any, Any] = falcon.App()
    app.add_route("/{topic}/{user}", Constant(options.answer, options.size))
    app.add_route("/{topic}", Sink())
    app.add_route("/", Ready())
    serve = _serve_waitress if options.server == "waitress" else _serve_fanmail
    serve(app, options.port)


def _serve_waitress(app: Any, port: int) -> None:
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    waitress.serve(
        app,
        host="127.0.0.1",
        port=port,
        threads=THREADS,
        connection_limit=CONNECTIONS,
        backlog=1024,
        channel_request_lookahead=1,
        asyncore_use_poll=True,
        _quiet=True,
    )


def _serve_fanmail(app: Any, port: int) -> None:
    hub = Hub()
    server = FrontServer(app, ServerOptions(["127.0.0.1"], port, CONNECTIONS), hub)

    def stop() -> None:
        server.drain(1.0, 0.0)

    hub.take_signals({signal.SIGTERM: stop, signal.SIGINT: stop})
    server.run()


if __name__ == "__main__":
    main()
