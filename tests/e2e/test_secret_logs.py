"""What no log, metric or page ever shows, at any level: tokens, names, bodies, headers. And no client forges a line."""

from __future__ import annotations

import json
import re
import signal
import socket
from pathlib import Path

import pytest

from tests.conftest import StartCluster
from tests.e2e.cluster import Client, Cluster, Front, wait_for
from tests.e2e.keys import bearer, token, write_keys

MARK = "Zx9"
"""The beginning of everything that must not be visible."""
ALL = """allow = [
  {rights = ["publish"], topic = "*"}, {rights = ["subscribe", "consume"], topic = "*", user = "*"},
  {rights = ["admin"]},
]"""
FORGED = "%0D%0AForgedLine%1B%5B2J%C2%85%E2%80%A8"
"""A name with line ends and a terminal escape."""


def ask_everything(front: Front, headers: dict[str, str]) -> None:
    """Make all calls with marks in names, bodies, queries and headers, valid and invalid ones."""
    web, ops = Client(front.port), Client(front.ops_port)
    topic, user = f"{MARK}topic", f"{MARK}user"
    headers = headers | {"Meta-Secret": f"{MARK}header", "Cookie": f"{MARK}cookie", "User-Agent": f"{MARK}agent"}
    for method, path in (
        ("POST", f"/{topic}/{user}"),
        ("POST", f"/{topic}"),
        ("POST", f"/{topic}?batch=frames"),
        ("GET", f"/{topic}/{user}"),
        ("GET", f"/{topic}/{user}?{MARK}query=1"),
        ("GET", f"/{topic}/{MARK}{FORGED}"),
        ("POST", f"/{MARK}{FORGED}/{user}"),
        ("GET", f"/{topic}/{MARK}nobody"),
        ("GET", f"/{topic}/{user}/dead"),
        ("DELETE", f"/{topic}/{user}/{MARK}receipt"),
        ("POST", f"/{topic}/{user}/acks"),
        ("PUT", f"/{topic}/{user}"),
        ("GET", f"/{topic}/%FF{MARK}"),
    ):
        for request_id in ("fine", f"{MARK} blank", f"{MARK}\xe5", "x" * 200 + MARK):  # the first one may be logged
            web.call(method, path, f"{MARK}body".encode(), headers | {"X-Request-Id": request_id})
    for method, path in (
        ("GET", f"/-/v1/topics/{topic}"),
        ("GET", f"/-/v1/topics/{topic}/subscriptions/{user}/messages"),
        ("PATCH", f"/-/v1/topics/{topic}?overflow={MARK}"),
        ("PUT", f"/-/v1/brokers/{MARK}{FORGED}/drain"),
        ("GET", f"/-/v1/{MARK}"),
        ("DELETE", f"/-/v1/topics/{topic}"),
    ):
        ops.call(method, path, None, headers)
    web.close()
    ops.close()


def smuggle(port: int) -> None:
    """Send line ends within header values, as no client library would."""
    for line in (
        f"Authorization: Bearer {token('key')}\rForgedLine: 1",
        f"X-Request-Id: fine\rForgedLine {MARK}",
        f"X-Request-Id: fine\nForgedLine {MARK}",
        f"X-Request-Id: fine\r\n ForgedLine {MARK}",
        f"Authorization: Bearer {token('key')}\r\nAuthorization: Bearer {token('key')}",
        f"Authorization: Bearer {token('key')}\x00{MARK}",
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            sock.sendall(f"GET /{MARK}/{MARK} HTTP/1.1\r\nHost: localhost\r\n{line}\r\n\r\n".encode("latin-1"))
            assert sock.recv(4096).startswith(b"HTTP/1.1 4")


def logs(cluster: Cluster) -> dict[str, str]:
    return {f"{process.name} {process.pid}": process.log() for process in cluster.processes}


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_token_name_body_or_header_is_in_any_log(start_cluster: StartCluster, folder: Path, log_format: str) -> None:
    path = write_keys(folder / "keys.toml", {"key": ALL})
    logged = {"log_level": "debug", "log_format": "json"}
    cluster = start_cluster(
        brokers=2, fronts=1, broker_settings=logged, front_settings=logged | {"api_keys_file": path}
    )
    front = cluster.fronts[0]
    if log_format == "text":
        port, ops_port = restarted_as_text(cluster, path)
        front = Front(cluster.processes[-1], port, ops_port)
    wrong = bearer("key", "t")
    for headers in (bearer("key"), wrong, {"Authorization": f"Basic {MARK}"}, {"Authorization": f"Bearer {MARK}"}, {}):
        ask_everything(front, headers)
    smuggle(front.port)
    metrics = Client(front.ops_port)
    shown = metrics.call("GET", "/metrics", headers=bearer("key")).body.decode()
    shown += metrics.call("GET", "/-/v1/config", headers=bearer("key")).body.decode()
    metrics.close()
    path.write_text(f'[[keys]]\nid = "key"\nhash = "{token("key")}"\n')
    front.process.signal(signal.SIGHUP)
    wait_for(lambda: "the API keys stay as they were" in front.process.log(), "the reload")
    cluster.kill_broker("b0")
    ask_everything(front, bearer("key"))
    front.process.terminate()
    for name, text in (logs(cluster) | {"metrics and settings": shown}).items():
        for secret in (MARK, "s" * 43, "t" * 43, "Forged"):
            assert secret.lower() not in text.lower(), (name, secret)
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028]", text), name
    assert sum(each.count("/{topic}/{user}") for each in logs(cluster).values()) > 50, (
        "and there was something to look at"
    )


def restarted_as_text(cluster: Cluster, keys: Path) -> tuple[int, int]:
    """Start another front, which logs text for humans."""
    flags = [f"--run-dir={cluster.run_dir}", "--port=0", "--ops-port=0", f"--api-keys-file={keys}"]
    process = cluster.spawn("text", "httpfront", *flags, "--log-level=debug", "--log-format=text")
    found = wait_for(lambda: re.search(r"serving .* port=(\d+) .*ops_port=(\d+)", process.log()), "the front")
    port, ops_port = int(found[1]), int(found[2])
    wait_for(Front(process, port, ops_port).ready, "the front to be ready")
    return port, ops_port


def test_the_access_log_has_the_id_of_the_key_that_was_proven(start_cluster: StartCluster, folder: Path) -> None:
    path = write_keys(folder / "keys.toml", {"key": "", "old": "expires = 2020-01-01T00:00:00Z"})
    front: Front = start_cluster(brokers=1, fronts=1, front_settings={"api_keys_file": path}).fronts[0]
    for name, headers in {
        "good": bearer("key"),
        "wrong": bearer("key", "t"),
        "expired": bearer("old"),
        "none": {},
    }.items():
        for port in (front.port, front.ops_port):
            client = Client(port)
            client.call("GET", "/metrics/x", headers=headers | {"X-Request-Id": f"{name}-{port}"})
            client.close()
    front.process.terminate()
    keys = {
        each["request_id"].partition("-")[0]: (each["status"], each.get("key"))
        for each in front.process.events()
        if each["event"] == "request" and "-" in each["request_id"]
    }
    assert keys["good"] in ((403, "key"), (404, "key"))
    assert {keys[name] for name in ("wrong", "expired", "none")} == {(401, None)}


def test_refusals_are_counted_by_reason(start_cluster: StartCluster, folder: Path) -> None:
    path = write_keys(folder / "keys.toml", {"key": ALL, "old": "expires = 2020-01-01T00:00:00Z"})
    front: Front = start_cluster(brokers=1, fronts=1, front_settings={"api_keys_file": path}).fronts[0]
    web, ops = Client(front.port), Client(front.ops_port)
    refused = {
        "no-key": {},
        "other-scheme": {"Authorization": "Basic x"},
        "malformed": {"Authorization": "Bearer x"},
        "unknown-key": bearer("other"),
        "wrong-secret": bearer("key", "t"),
        "expired": bearer("old"),
    }
    for number, headers in enumerate(refused.values(), 1):
        for _ in range(number):
            assert web.call("GET", "/t/u", headers=headers).status == 401
        assert ops.call("GET", "/metrics", headers=headers).status == 401
        assert web.call("GET", "/livez", headers=headers).status == 200
    text = ops.call("GET", "/metrics", headers=bearer("key")).body.decode()
    for number, reason in enumerate(refused, 1):
        assert f'fanmail_http_unauthorized_total{{reason="{reason}"}} {number + 1}.0\n' in text
    assert 'fanmail_http_requests_total{code="401",method="GET",route="none"} 21.0\n' in text
    assert json.loads(ops.call("GET", "/-/v1/config", headers=bearer("key")).body)["settings"]["api_keys_file"] == "***"
    web.close()
    ops.close()
