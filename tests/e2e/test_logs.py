"""What is logged, and what never is: names and bodies."""

from __future__ import annotations

import json
import re
import signal

from tests.conftest import StartCluster
from tests.e2e.cluster import Client, Front, wait_for

SECRETS = {kind: f"Zx9{kind}Qw" for kind in ("topic", "user", "body", "header", "query")}
COMMON_FIELDS = {"time", "level", "process", "event"}
REQUEST_FIELDS = COMMON_FIELDS | {"request_id", "method", "route", "status", "duration_ms", "bytes"}


def refused_early(front: Front, topic: str) -> None:
    """Send requests that are refused before the application runs."""
    for status in (413, 414, 431):
        client = Client(front.port)
        path = f"/{topic}?{'q' * 9000}" if status == 414 else f"/{topic}"
        large = SECRETS["body"].encode() * 200_000 if status == 413 else None
        more = {"X-Large": SECRETS["header"] * 2000} if status == 431 else {}
        try:
            assert client.call("POST", path, large, more).status == status
        except OSError:
            assert status == 413  # it may close while the body is still being sent
        client.close()


def test_logs_are_json_lines_about_requests_and_never_name_anybody(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=2, fronts=1, broker_settings={"max_messages": 2})
    front = cluster.fronts[0]
    topic, user = SECRETS["topic"], SECRETS["user"]
    headers = {"Meta-Secret": SECRETS["header"], "Authorization": SECRETS["header"], "Cookie": SECRETS["header"]}
    expected: list[tuple[str, str, int]] = []

    def ask(method: str, path: str, route: str, status: int, body: bytes | None = None) -> None:
        request_id = f"id-{len(expected)}"
        answer = front.web.call(method, path, body, headers | {"X-Request-Id": request_id})
        assert answer.status == status, (method, path, answer)
        expected.append((method, route, status))

    one, two = "/{topic}", "/{topic}/{user}"
    secret = SECRETS["body"].encode()
    ask("POST", f"/{topic}/{user}", two, 200)
    for status in (200, 200, 429):
        ask("POST", f"/{topic}", one, status, secret)
    ask("GET", f"/{topic}/{user}", two, 200)
    ask("GET", f"/{topic}/{user}?{SECRETS['query']}=1", two, 400)
    ask("GET", f"/{topic}/%FF{user}", two, 400)
    ask("GET", f"/{topic}%0A/{user}", two, 400)
    ask("GET", f"/{topic}/{'n' * 300}", two, 400)
    ask("PUT", f"/{topic}/{user}", two, 405)
    ask("DELETE", f"/{topic}/{user}", two, 200)
    ask("GET", f"/{topic}/{user}", two, 404)
    ask("DELETE", f"/{topic}/{user}/{SECRETS['query']}", two + "/{receipt}", 400)
    ask("GET", f"/{topic}/{user}/dead", two + "/dead", 404)
    ask("GET", f"/{topic}/{user}/{SECRETS['query']}/x", "none", 404)
    ask("GET", "/livez", "/livez", 200)
    ask("GET", "/readyz?strict=1", "/readyz", 200)

    refused_early(front, topic)

    # Also while brokers stop and start.
    cluster.brokers[cluster.map.owner(topic.encode())].kill()
    wait_for(lambda: not front.ready())
    ask("POST", f"/{topic}/{user}", two, 503)
    front.forget()
    front.process.signal(signal.SIGTERM)
    front.process.popen.wait()

    lines = front.process.log().splitlines()
    events = [json.loads(line) for line in lines]
    mine = {each["request_id"]: each for each in events if str(each.get("request_id", "")).startswith("id-")}
    assert len(mine) == len(expected)
    for number, (method, route, status) in enumerate(expected):
        line = mine[f"id-{number}"]
        assert set(line) == REQUEST_FIELDS
        assert (line["event"], line["level"], line["process"]) == ("request", "info", "front-0")
        assert (line["method"], line["route"], line["status"]) == (method, route, status)
        assert line["duration_ms"] >= 0
        assert line["bytes"] > 0
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert {414, 431} <= {each.get("status") for each in events}
    for process in cluster.processes:
        assert all(json.loads(line)["level"] != "error" for line in process.log().splitlines())
        for kind, text in SECRETS.items():
            assert text.lower() not in process.log().lower(), f"the {kind} is in the log of {process.name}"


def test_the_access_log_can_be_switched_off(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1, front_settings={"access_log": "off"})
    front = cluster.fronts[0]
    front.web.subscribe("t", "u")
    front.forget()
    assert front.process.terminate() == 0
    assert "request" not in {each["event"] for each in front.process.events()}


def test_text_for_a_person(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1)
    front = cluster.spawn(
        "text", "httpfront", "--port=0", "--ops-port=0", f"--run-dir={cluster.run_dir}", "--log-format=text"
    )
    found = wait_for(lambda: re.search(r"\d\d:\d\d:\d\d\.\d{3} info +front-0 serving .*port=(\d+)", front.log()))
    client = Client(int(found[1]))
    assert client.call("GET", "/livez").status == 200
    client.close()
    wait_for(lambda: re.search(r"info +front-0 GET /livez 200 \d+\.\dms \S+\n", front.log()))
