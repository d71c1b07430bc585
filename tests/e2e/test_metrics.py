"""The operations port of real fronts: probes, and `/metrics` as Prometheus reads it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import StartCluster
from tests.e2e.cluster import PATIENCE, ROOT, Client, Cluster, Front, free_ports, wait_for

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def tool(name: str) -> str:
    """Return the path of a program. If it is missing, the test is skipped, or fails in CI."""
    path = shutil.which(name)
    if path is None:
        assert not os.environ.get("CI"), f"{name} is not installed"
        pytest.skip(f"{name} is not installed")
    return path


def text_of(front: Front, path: str) -> str:
    client = Client(front.ops_port)
    answer = client.call("GET", path)
    client.close()
    assert answer.status == 200, answer
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.body.decode()


def scraped(front: Front) -> Samples:
    """Return the metrics of this front and of the brokers."""
    return samples_of(front, "/metrics") | samples_of(front, "/metrics/brokers")


def samples_of(front: Front, path: str) -> Samples:
    families = text_string_to_metric_families(text_of(front, path))
    return {
        (each.name, tuple(sorted(each.labels.items()))): each.value for family in families for each in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, tuple(sorted(labels.items()))]


def total(samples: Samples, name: str, **labels: str) -> float:
    """Return the sum over all brokers."""
    return sum(n for (each, found), n in samples.items() if each == name and labels.items() <= dict(found).items())


def operations(front: Front) -> Client:
    return Client(front.ops_port)


@pytest.fixture
def small(start_cluster: StartCluster) -> Cluster:
    return start_cluster(brokers=2, fronts=1, broker_settings={"max_messages": 3})


def test_the_operations_port_answers_probes_and_nothing_of_the_public_api(front: Front) -> None:
    ops = operations(front)
    for path in ("/livez", "/readyz?strict=1", "/openapi.json"):
        assert ops.call("GET", path).status == 200
    assert ops.call("GET", "/livez").body == front.web.call("GET", "/livez").body
    for method, path in (("POST", "/t/u"), ("GET", "/t/u"), ("POST", "/t"), ("GET", "/-/v1/nothing")):
        answer = ops.call(method, path)
        assert (answer.status, answer.code) == (404, "no-route")
    answer = ops.call("POST", "/metrics")
    assert (answer.status, answer.code, answer.headers["Allow"]) == (405, "method-not-allowed", "GET, HEAD, OPTIONS")
    assert ops.call("GET", "/metrics?x=1").code == "bad-parameter"
    answer = ops.call("GET", "/-/v1/topics", headers={"Host": "evil.example"})
    assert (answer.status, answer.code) == (421, "wrong-host"), "no page reaches it through a name of its own"
    ops.close()
    assert front.web.call("GET", "/metrics").status == 405, "no name is reserved on the public port"
    assert front.web.call("GET", "/metrics/u").code == "no-subscription"


def test_what_is_done_is_counted(small: Cluster) -> None:
    front = small.fronts[0]
    web = front.web
    web.subscribe("t", "u")
    web.subscribe("t", "v")
    web.publish("nobody", b"x")
    assert [web.publish("t", b"abc").status for _ in range(4)] == [200, 200, 200, 429]
    assert web.take("t", "u").status == 200
    assert web.call("GET", "/t/u?lease=30").status == 200
    assert web.call("GET", "/t/nobody").status == 404
    assert web.call("BREW", "/t/u").status == 405
    samples = scraped(front)
    one, two = "/{topic}", "/{topic}/{user}"
    requests = "fanmail_http_requests_total"
    assert value(samples, requests, route=one, method="POST", code="200") == 4
    assert value(samples, requests, route=one, method="POST", code="429") == 1
    assert value(samples, requests, route=two, method="GET", code="200") == 2
    assert value(samples, requests, route=two, method="GET", code="404") == 1
    assert value(samples, requests, route=two, method="other", code="405") == 1, "a method is any word"
    assert value(samples, "fanmail_http_request_duration_seconds_count", route=one) == 5
    assert value(samples, "fanmail_http_request_duration_seconds_bucket", route=one, le="+Inf") == 5
    assert 0 < value(samples, "fanmail_http_request_duration_seconds_sum", route=one) < 5
    assert value(samples, "fanmail_http_connections") == 1
    assert value(samples, "fanmail_http_waiters") == 0
    for name, expected in {
        "fanmail_topics": 1,
        "fanmail_subscriptions": 2,
        "fanmail_stored_messages": 3,
        "fanmail_leases": 1,
        "fanmail_messages_published_total": 3,
        "fanmail_messages_delivered_total": 2,
        "fanmail_messages_redelivered_total": 0,
        "fanmail_dead_letters": 0,
    }.items():
        assert total(samples, name) == expected, name
    assert total(samples, "fanmail_stored_bytes") == 9
    assert total(samples, "fanmail_messages_dropped_total", reason="no-subscribers") == 1
    assert total(samples, "fanmail_messages_dropped_total", reason="overflow") == 0, "there from the start"
    assert total(samples, "fanmail_requests_rejected_total", reason="topic-full") == 1
    assert total(samples, "fanmail_broker_operations_total", operation="publish") == 5
    assert total(samples, "fanmail_commit_duration_seconds_count") > 0
    assert total(samples, "fanmail_commit_duration_seconds_bucket", le="+Inf") == total(
        samples, "fanmail_commit_duration_seconds_count"
    )
    for broker in ("b0", "b1"):
        assert value(samples, "fanmail_broker_up", broker=broker) == 1
        assert 0 < value(samples, "fanmail_broker_round_trip_seconds", broker=broker) < 1
    assert any(name == "fanmail_build_info" for name, _ in samples)
    assert value(samples, "process_resident_memory_bytes") > 1e6
    assert not {"t", "u", "v", "nobody"} & {label for _, labels in samples for _, label in labels}, "never a name"


def test_what_commits_wait_for_the_disk_is_told_of_durable_stores(start_cluster: StartCluster, small: Cluster) -> None:
    durable = start_cluster(brokers=1, fronts=1, durable=True)
    for cluster in (small, durable):
        web = cluster.fronts[0].web
        web.subscribe("t", "u")
        for _ in range(3):
            web.publish("t", b"x")
    commit, sync = "fanmail_commit_duration_seconds", "fanmail_sync_duration_seconds"
    samples = scraped(durable.fronts[0])
    assert total(samples, f"{sync}_count") == total(samples, f"{commit}_count") >= 4
    assert 0 < total(samples, f"{sync}_sum") < total(samples, f"{commit}_sum")
    assert total(samples, f"{sync}_bucket", le="+Inf") == total(samples, f"{sync}_count")
    assert total(scraped(small.fronts[0]), f"{sync}_count") == 0


def test_the_oldest_message_gets_older_until_it_is_read(small: Cluster) -> None:
    front = small.fronts[0]

    def age() -> float:
        return total(scraped(front), "fanmail_oldest_message_age_seconds")

    assert age() == 0
    front.web.subscribe("t", "u")
    front.web.publish("t", b"x")
    wait_for(lambda: age() > 1.5, "the message to get older", patience=10)
    assert age() < 20
    front.web.publish("t", b"y")
    front.web.take("t", "u")
    assert age() < 1.5
    front.web.take("t", "u")
    assert age() == 0


def test_a_broker_that_is_gone_or_stuck_leaves_its_series_out(small: Cluster) -> None:
    front = small.fronts[0]
    small.brokers["b0"].kill()
    wait_for(lambda: not front.ready())
    samples = scraped(front)
    assert value(samples, "fanmail_broker_up", broker="b0") == 0
    assert value(samples, "fanmail_broker_up", broker="b1") == 1
    assert {dict(labels)["broker"] for name, labels in samples if name == "fanmail_topics"} == {"b1"}
    stuck = small.brokers["b1"]
    stuck.signal(signal.SIGSTOP)
    try:
        assert not [name for name, _ in samples_of(front, "/metrics/brokers") if name == "fanmail_topics"]
        wait_for(lambda: value(scraped(front), "fanmail_broker_up", broker="b1") == 0, "its silence to be noticed")
    finally:
        stuck.signal(signal.SIGCONT)
    wait_for(lambda: value(scraped(front), "fanmail_broker_up", broker="b1") == 1, "it to be back")


@pytest.mark.parametrize("path", ["/metrics", "/metrics/brokers"])
def test_the_text_follows_the_rules_of_naming(small: Cluster, path: str) -> None:
    promtool = tool("promtool")
    text = text_of(small.fronts[0], path)
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    ours = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("fanmail_")]
    assert ours == []
    assert done.returncode in (0, 3), done


def test_a_front_and_the_brokers_are_told_apart(small: Cluster) -> None:
    front = small.fronts[0]
    names = {path: {name for name, _ in samples_of(front, path)} for path in ("/metrics", "/metrics/brokers")}
    assert not names["/metrics"] & names["/metrics/brokers"]
    assert "fanmail_http_connections" in names["/metrics"]
    assert "process_open_fds" in names["/metrics"]
    assert "fanmail_topics" in names["/metrics/brokers"]
    assert not [name for name in names["/metrics/brokers"] if not name.startswith("fanmail_")], "not of the front"
    small.brokers["b0"].signal(signal.SIGSTOP)
    try:
        assert text_of(front, "/metrics"), "no broker is asked"
    finally:
        small.brokers["b0"].signal(signal.SIGCONT)
    for path in names:
        assert operations(front).call("HEAD", path).status == 200
        assert operations(front).call("GET", f"{path}?x=1").code == "bad-parameter"


def test_the_rules_are_good() -> None:
    for kind, name in (("rules", "alerts.yml"), ("config", "prometheus.yml")):
        argv = [tool("promtool"), "check", kind, str(ROOT / "deploy/prometheus" / name)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done


@pytest.fixture
def prometheus(small: Cluster, folder: Path) -> Iterator[Client]:
    """Start a real Prometheus that scrapes the front every second, with our rules. Return a client of it."""
    program = tool("prometheus")
    port = free_ports(1)
    (folder / "prometheus.yml").write_text(
        f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n"
        f"rule_files: [{ROOT}/deploy/prometheus/alerts.yml]\n"
        f"scrape_configs:\n  - job_name: fanmail\n    static_configs: &front\n"
        f"      - targets: ['127.0.0.1:{small.fronts[0].ops_port}']\n"
        f"  - job_name: fanmail-brokers\n    metrics_path: /metrics/brokers\n    static_configs: *front\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/tsdb",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    yield Client(port)
    process.terminate()
    process.wait(PATIENCE)


def test_a_real_prometheus_scrapes_it(small: Cluster, prometheus: Client) -> None:
    front = small.fronts[0]
    front.web.subscribe("t", "u")
    front.web.publish("t", b"x")

    def ask(query: str) -> list[dict[str, object]]:
        try:
            answer = prometheus.call("GET", f"/api/v1/query?query={quote(query)}")
        except OSError:
            return []
        return list(json.loads(answer.body)["data"]["result"]) if answer.status == 200 else []

    for job in ("fanmail", "fanmail-brokers"):
        assert wait_for(lambda job=job: ask(f'up{{job="{job}"}} == 1'), "a scrape")
    assert wait_for(lambda: ask("sum(fanmail_stored_messages) == 1"), "the message")
    assert len(ask("fanmail_broker_up == 1")) == 2
    wait_for(lambda: ask('fanmail_http_requests_total{route="/{topic}", method="POST", code="200"} == 1'))
    rules = prometheus.call("GET", "/api/v1/rules")
    groups = json.loads(rules.body)["data"]["groups"]
    assert groups
    wait_for(
        lambda: all(
            rule["health"] == "ok"
            for group in json.loads(prometheus.call("GET", "/api/v1/rules").body)["data"]["groups"]
            for rule in group["rules"]
        ),
        "every rule to be evaluated",
    )
    prometheus.close()
