"""Nchan, the publish/subscribe module of nginx: single messages, published and read by long poll.

A reader keeps its own position and sends it with each request; messages stay until they are too old or too many. Nchan
searches for the position from the oldest message on, so channels get few messages here.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

from bench.harness.processes import BenchError, Group
from bench.harness.wires import free_port
from bench.loads.client import HttpConnection, Script, play, request
from bench.loads.testbed import CONNECTIONS, Figures

MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
DEPTH = 250
"""Messages per channel; with 20,000 reading takes 20 times as long."""
_CONFIGURATION = """
load_module {module};
daemon off;
master_process off;
pid {run_dir}/nginx.pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {run_dir}/bodies;
    proxy_temp_path {run_dir}/proxy;
    fastcgi_temp_path {run_dir}/fastcgi;
    uwsgi_temp_path {run_dir}/uwsgi;
    scgi_temp_path {run_dir}/scgi;
    nchan_shared_memory_size 1G;
    server {{
        listen 127.0.0.1:{port};
        location ~ ^/pub/(\\w+)$ {{
            nchan_publisher;
            nchan_channel_id $1;
            nchan_message_buffer_length 1000000;
            nchan_message_timeout 1h;
        }}
        location ~ ^/sub/(\\w+)$ {{
            nchan_subscriber longpoll;
            nchan_channel_id $1;
            nchan_subscriber_first_message oldest;
        }}
    }}
}}
"""


def missing() -> str:
    """Return why this cannot be measured, or ""."""
    if not shutil.which("nginx"):
        return "nginx is not installed"
    return "" if MODULE.exists() else "libnginx-mod-nchan is not installed"


class NchanPeer:
    """One nginx process. Each connection has its own channels, new ones per run."""

    def __init__(self, stack: ExitStack) -> None:
        group = stack.enter_context(Group())
        port = free_port()
        file = group.run_dir / "nginx.conf"
        file.write_text(_CONFIGURATION.format(module=MODULE, run_dir=group.run_dir, port=port))
        command = ("nginx", "-e", "stderr", "-p", str(group.run_dir), "-c", str(file))
        self._watched = {"nginx": group.start_program(port, *command)}
        self._connections = [stack.enter_context(closing(HttpConnection(port))) for _ in range(CONNECTIONS)]
        self._rounds = 0

    def run(self, figures: Figures, size: int, messages: int) -> None:
        """So many messages of each connection, or a few more."""
        self._rounds += 1
        names = [
            [b"c%dx%dx%d" % (number, self._rounds, part) for part in range(-(-messages // DEPTH))]
            for number in range(CONNECTIONS)
        ]
        total = sum(map(len, names)) * DEPTH
        for kind, script in (("Nchan publish", _publish), ("Nchan read", _read)):
            scripts = [script(channels, size) for channels in names]
            figures.timed(kind, total, self._watched, partial(play, self._connections, scripts))


def _publish(channels: list[bytes], size: int) -> Script:
    for channel in channels:
        sent = request("POST", b"/pub/" + channel, b"x" * size)
        for _ in range(DEPTH):
            yield sent


def _read(channels: list[bytes], size: int) -> Script:
    for channel in channels:
        fields: tuple[bytes, ...] = ()
        for _ in range(DEPTH):
            answer = yield request("GET", b"/sub/" + channel, b"", *fields)
            if answer.status != 200 or len(answer.body) != size:
                raise BenchError(f"Nchan answered {answer.status} with {len(answer.body)} bytes")
            fields = (
                b"If-Modified-Since: " + answer.header(b"last-modified"),
                b"If-None-Match: " + answer.header(b"etag"),
            )
