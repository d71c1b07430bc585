"""The responses of a front, checked against its own OpenAPI description."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartCluster
from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.keys import bearer, write_keys

if importlib.util.find_spec("schemathesis") is None:
    missing = "schemathesis is not installed (bin/_setup --dev)"
    if os.environ.get("CI") == "true":
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing, allow_module_level=True)

from schemathesis import GenerationMode, Response

from tests.support.conformance import FRAMES, PROBLEM, TOPICS, USERS, Conformance, Fuzz, generated, wrong

SHARES = {
    "POST /{topic}": (64, 30),
    "POST /{topic}/{user}": (32, 8),
    "PATCH /{topic}/{user}": (12, 8),
    "GET /{topic}/{user}": (110, 30),
    "HEAD /{topic}/{user}": (10, 4),
    "DELETE /{topic}/{user}": (5, 4),
    "DELETE /{topic}/{user}/{receipt}": (25, 6),
    "PATCH /{topic}/{user}/{receipt}": (30, 12),
    "POST /{topic}/{user}/acks": (20, 8),
    "GET /{topic}/{user}/dead": (14, 8),
    "HEAD /{topic}/{user}/dead": (5, 3),
    "POST /{topic}/{user}/dead": (8, 3),
    "DELETE /{topic}/{user}/dead": (6, 3),
    "GET /": (3, 0),
    "HEAD /": (3, 0),
    "GET /livez": (3, 0),
    "HEAD /livez": (3, 0),
    "GET /readyz": (5, 3),
    "HEAD /readyz": (3, 2),
    "GET /openapi.json": (2, 0),
    "HEAD /openapi.json": (2, 0),
    "GET /asyncapi.json": (2, 0),
    "HEAD /asyncapi.json": (1, 0),
}
"""Cases per operation that follow the description, and that do not; 500 in total."""
FRONT = {"max_wait": 0.2}
STREAM = ("stream", "confirm", "data")
"""Parameters that are left out here, with what is true of streams only: such an answer does not end."""
NEWS = {"topic": "news"}
ALICE = {"topic": "news", "user": "alice"}
SUBSCRIBE, PUBLISH, RECEIVE = "POST /{topic}/{user}", "POST /{topic}", "GET /{topic}/{user}"
FINISH = "DELETE /{topic}/{user}/{receipt}"
BINARY = "application/octet-stream"
EVERYTHING = """allow = [
  {rights = ["publish"], topic = "*"}, {rights = ["subscribe", "consume"], topic = "*", user = "*"}]"""


def described(cluster: Cluster) -> dict[str, Any]:
    """Return the description that the first front serves."""
    document: dict[str, Any] = json.loads(cluster.fronts[0].web.call("GET", "/openapi.json").body)
    receive = document["paths"]["/{topic}/{user}"]["get"]
    receive["parameters"] = [each for each in receive["parameters"] if each["$ref"].rpartition("/")[2] not in STREAM]
    for name in ("Msg-Id", "Msg-Pending"):
        receive["responses"]["200"]["headers"][name]["required"] = True
    return document


@pytest.fixture
def front(start_cluster: StartCluster) -> Conformance:
    """Return a front of two brokers, with its description."""
    cluster = start_cluster(brokers=2, fronts=1, front_settings=FRONT)
    return Conformance(described(cluster), cluster.fronts[0].port)


def subscribed(front: Conformance) -> None:
    """Subscribe all users of the cases, with a few messages to read."""
    for topic in TOPICS:
        for user in USERS:
            front.ask("POST /{topic}/{user}", {"topic": topic, "user": user})
        for _ in range(5):
            front.ask("POST /{topic}", {"topic": topic}, body=b"x", media_type=BINARY)


def test_the_description_is_valid_openapi(front: Conformance) -> None:
    assert front.api.specification.version.startswith("3.1")
    front.api.validate()


@pytest.mark.slow
def test_500_cases_find_no_answer_that_is_not_described(front: Conformance) -> None:
    assert set(SHARES) == set(front.labels)
    cases = []
    for label, (keeping, breaking) in SHARES.items():
        cases += generated(front.api, label, GenerationMode.POSITIVE, keeping)
        cases += generated(front.api, label, GenerationMode.NEGATIVE, breaking)
    assert len(cases) == 500
    subscribed(front)
    front.statuses.clear()
    Fuzz(front, seed=1).play(cases)
    assert front.statuses.total() == 500
    assert front.findings == []
    reached = {label for label, status in front.statuses if status == 200}
    assert reached == set(SHARES), "some calls were only ever refused"
    assert {status for _, status in front.statuses} >= {200, 204, 400, 404, 409, 422}


@pytest.mark.slow
def test_systematic_cases_find_no_answer_that_is_not_described(front: Conformance) -> None:
    subscribed(front)
    for label in SHARES:
        for case in front.systematic(label):
            front.send(case)
    assert front.findings == []
    assert {status for _, status in front.statuses} >= {200, 400, 405}


def test_ranges_end_where_they_are_described(front: Conformance) -> None:
    """Expect that the last value inside is accepted and the first one outside refused, for every query parameter."""
    assert list(displaced(front)) == []


def bounds(schema: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return the outermost numbers inside a range, the next ones outside, and one with a digit too many."""
    if "anyOf" in schema:  # 0, or a range
        inside, outside = bounds(schema["anyOf"][1])
        return ["0", *inside], outside
    step = Decimal(str(schema.get("multipleOf", 1)))
    first = schema["minimum"] if "minimum" in schema else schema["exclusiveMinimum"] + step
    last = schema["maximum"] if "maximum" in schema else schema["exclusiveMaximum"] - step
    inside, outside = [first, last], [first - step, last + step, first + step / 10]
    return [f"{Decimal(value):f}" for value in inside], [f"{Decimal(value):f}" for value in outside]


def displaced(front: Conformance) -> Iterator[str]:
    """Yield numbers in queries that are accepted and should not be, or the other way round."""
    for label in SHARES:
        parameters = {each.name: each for each in front.make(label).operation.query}
        needed = {name: "0" for name, each in parameters.items() if each.is_required}
        for name, parameter in parameters.items():
            schema = parameter.definition["schema"]
            if "string" in schema.get("type", "") or "enum" in schema:
                continue
            inside, outside = bounds(schema)
            for value in inside + outside:
                answer = front.ask(label, ALICE | {"receipt": "beef-1.1"}, query=needed | {name: value})
                if (answer.status_code == 400) != (value in outside):
                    yield f"{label} {name}={value}"


def test_every_call_takes_just_the_parameters_that_are_described(front: Conformance) -> None:
    """Expect that an unknown one is refused with the list of the known ones."""
    for label in SHARES:
        if not label.startswith("HEAD"):  # its refusal has no body
            answer = front.ask(label, ALICE | {"receipt": "a-1.1"}, query={"nonsense": "1"})
            known = re.search(r"\(known: (.*)\)", json.loads(answer.content)["detail"])
            assert known, (label, answer.content)
            names = sorted(each.name for each in front.make(label).operation.query)
            shown = ", ".join(each for each in known[1].split(", ") if each not in STREAM)
            assert shown == (", ".join(names) or "none"), label


def test_a_tour_shows_every_header_that_is_described(start_cluster: StartCluster) -> None:
    """Leave no room for waiters, so that the header for that occurs, too."""
    cluster = start_cluster(brokers=1, fronts=1, front_settings=FRONT | {"max_waiters": 0})
    front = Conformance(described(cluster), cluster.fronts[0].port)
    kept = {"Content-Encoding": "identity", "Content-Language": "nb", "Meta-Colour": "blue"}

    def publish(body: bytes, **parts: Any) -> Response:
        return front.ask(PUBLISH, NEWS, body=body, media_type=BINARY, **parts)

    front.ask(SUBSCRIBE, ALICE, query={"max_deliveries": 1, "expires_after": 60})
    front.ask(RECEIVE, ALICE, query={"wait": 1})
    for _ in range(2):
        publish(b"a\n\xff", query={"batch": "lines"}, headers={"Idempotency-Key": "k"})
    publish(b"later", query={"delay": 60, "ttl": 60})
    leased = front.ask(RECEIVE, ALICE, query={"lease": 30, "max": 9})
    for line in leased.content.splitlines():
        receipt = json.loads(line)["receipt"]
        front.ask("PATCH /{topic}/{user}/{receipt}", ALICE | {"receipt": receipt}, query={"lease": 60})
        front.ask("PATCH /{topic}/{user}/{receipt}", ALICE | {"receipt": receipt}, query={"lease": 0})
    front.ask("HEAD /{topic}/{user}", ALICE)
    letters = front.ask("GET /{topic}/{user}/dead", ALICE, query={"max": 1})
    assert len(letters.content.splitlines()) == 1
    front.ask("POST /{topic}/{user}/dead", ALICE)
    receipt = front.ask(RECEIVE, ALICE, query={"lease": 30}).headers["msg-receipt"][0]
    front.ask("POST /{topic}/{user}/acks", ALICE, body=receipt, media_type="text/plain")
    publish(b"kept", headers=kept)
    front.ask(RECEIVE, ALICE, query={"wait": 0})
    front.ask(RECEIVE, ALICE, query={"max": 9}, headers={"Accept": FRAMES})
    front.ask("DELETE /{topic}/{user}/dead", ALICE)
    assert front.findings == []
    assert {status for _, status in front.statuses} == {200, 204}
    told = {name.lower() for answers in front.described("2") for name in answers["headers"]}
    assert told <= front.headers, told - front.headers


class Refusals:
    """Requests that are refused, each with its expected status and code."""

    def __init__(self, front: Conformance) -> None:
        self._front = front

    def __call__(
        self, expected: str, label: str, names: dict[str, str], body: bytes | None = None, **parts: Any
    ) -> None:
        if body is not None:
            parts |= {"body": body, "media_type": BINARY}
        answer = self._front.ask(label, names, **parts)
        plain = answer.headers["content-type"][0].startswith("text/plain")
        assert f"{answer.status_code} {'plain' if plain else json.loads(answer.content)['code']}" == expected


def test_errors_are_as_described(start_cluster: StartCluster) -> None:
    ceilings = {"max_topics": 1, "max_messages": 2}
    cluster = start_cluster(brokers=1, fronts=1, broker_settings=ceilings, front_settings=FRONT | {"max_body": 100})
    front = Conformance(described(cluster), cluster.fronts[0].port)
    refused = Refusals(front)
    front.ask(SUBSCRIBE, ALICE)
    refused("429 too-many-topics", SUBSCRIBE, {"topic": "rooms", "user": "bob"})
    front.ask(PUBLISH, NEWS, body=b"1", media_type=BINARY, headers={"Idempotency-Key": "k"})
    refused("422 key-reused", PUBLISH, NEWS, b"2", headers={"Idempotency-Key": "k"})
    front.ask(PUBLISH, NEWS, body=b"2", media_type=BINARY)
    refused("429 topic-full", PUBLISH, NEWS, b"3")
    refused("413 plain", PUBLISH, NEWS, b"long" * 30)
    refused("413 body-too-large", PUBLISH, NEWS, b"\0\0\1\0long", query={"batch": "frames"})
    refused("400 bad-batch", PUBLISH, NEWS, b"\0\0", query={"batch": "frames"})
    coded = {"Content-Encoding": "br"}
    refused("415 unsupported-coding", PUBLISH, NEWS, b"a", query={"batch": "lines"}, headers=coded)
    refused("415 unsupported-charset", PUBLISH, NEWS, b"\xff\xfea\0", query={"batch": "lines"})
    refused("431 headers-too-large", PUBLISH, NEWS, b"", headers={f"Meta-{n}": "x" for n in range(33)})
    refused("431 plain", PUBLISH, NEWS, b"", headers={"Meta-Long": "x" * 20_000})
    refused("400 plain", PUBLISH, NEWS, b"", headers={"Meta-Wide": "x" + " " * 70 + "x"})
    refused("414 plain", PUBLISH, {"topic": "n" * 10_000})
    refused("400 bad-name", PUBLISH, {"topic": "n" * 300})
    refused("400 bad-parameter", RECEIVE, ALICE, query={"leese": 1})
    refused("406 not-acceptable", RECEIVE, ALICE, query={"max": 1}, headers={"Accept": "image/png"})
    refused("410 cursor-lost", RECEIVE, ALICE, query={"after": "beef-1"})
    receipt = front.ask(RECEIVE, ALICE, query={"lease": 30}).headers["msg-receipt"][0]
    refused("409 leases-out", RECEIVE, ALICE, query={"after": "0"})
    front.ask(FINISH, ALICE | {"receipt": receipt})
    refused("409 lease-lost", FINISH, ALICE | {"receipt": "beef-1.1"})
    front.ask("DELETE /{topic}/{user}", ALICE)
    refused("404 no-subscription", RECEIVE, ALICE)
    assert front.findings == []


def test_answers_without_a_broker_are_as_described(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1, front_settings=FRONT | {"broker_timeout": 1})
    front = Conformance(described(cluster), cluster.fronts[0].port)
    refused = Refusals(front)
    broker = cluster.brokers["b0"]
    broker.signal(signal.SIGSTOP)
    refused("504 outcome-unknown", RECEIVE, ALICE)
    broker.kill()
    wait_for(lambda: not cluster.fronts[0].ready(), "the front to have noticed")
    refused("503 broker-down", RECEIVE, ALICE)
    assert front.ask("GET /readyz", {}).status_code == 503
    assert front.findings == []


def test_refusals_for_want_of_a_key_or_a_right_are_as_described(start_cluster: StartCluster, folder: Path) -> None:
    path = write_keys(folder / "keys.toml", {"none": "", "all": EVERYTHING})
    cluster = start_cluster(brokers=1, fronts=1, front_settings=FRONT | {"api_keys_file": path})
    port = cluster.fronts[0].port
    document = json.loads(cluster.fronts[0].web.call("GET", "/openapi.json", headers=bearer("none")).body)
    front = Conformance(document, port)
    front.api.validate()
    seen: dict[str, set[int]] = {}
    for headers in ({}, bearer("unknown"), bearer("none"), bearer("all")):
        for label in SHARES:
            parts: dict[str, Any] = {"body": b"", "media_type": BINARY} if label == PUBLISH else {}
            answer = front.ask(label, ALICE | {"receipt": "beef-1.1"}, headers=headers, **parts)
            seen.setdefault(label.partition(" ")[2], set()).add(answer.status_code)
    assert front.findings == []
    for path_, statuses in seen.items():
        wanted = set() if path_ in ("/livez", "/readyz") else {401} if "{" not in path_ else {401, 403}
        assert statuses & {401, 403} == wanted, path_


# Negative controls: deliberate errors are found.


def _no_answer(document: dict[str, Any]) -> None:
    del document["paths"]["/{topic}/{user}"]["get"]["responses"]["404"]


def _other_code(document: dict[str, Any]) -> None:
    answer = document["paths"]["/{topic}/{user}"]["get"]["responses"]["404"]
    answer["content"][PROBLEM]["schema"]["allOf"][1]["properties"]["code"]["enum"] = ["no-such-word"]


def _other_type(document: dict[str, Any]) -> None:
    document["paths"]["/{topic}/{user}"]["get"]["responses"]["404"]["content"] = {"application/json": {}}


def _more_headers(document: dict[str, Any]) -> None:
    headers = document["paths"]["/{topic}/{user}"]["get"]["responses"]["404"]["headers"]
    headers["Msg-Nonsense"] = {"required": True, "schema": {"type": "string"}}


@pytest.mark.parametrize("spoil", [_no_answer, _other_code, _other_type, _more_headers])
def test_a_spoilt_description_is_found(start_cluster: StartCluster, spoil: Callable[[dict[str, Any]], None]) -> None:
    cluster = start_cluster(brokers=1, fronts=1, front_settings=FRONT)
    document = described(cluster)
    good = Conformance(document, cluster.fronts[0].port)
    good.ask(RECEIVE, ALICE)
    assert good.findings == []
    spoil(document)
    spoilt = Conformance(document, cluster.fronts[0].port)
    spoilt.ask(RECEIVE, ALICE)
    assert len(spoilt.findings) == 1


@pytest.mark.parametrize(("most", "displaced_value"), [(43_199, "43199.000001"), (43_201, "43201")])
def test_a_range_that_is_not_as_described_is_found(
    start_cluster: StartCluster, most: int, displaced_value: str
) -> None:
    cluster = start_cluster(brokers=1, fronts=1, front_settings=FRONT)
    document = described(cluster)
    document["components"]["parameters"]["lease"]["schema"]["maximum"] = most
    assert list(displaced(Conformance(document, cluster.fronts[0].port))) == [f"{RECEIVE} lease={displaced_value}"]


def test_a_spoilt_answer_is_found(front: Conformance) -> None:
    subscribed(front)
    case = front.make(RECEIVE, path_parameters=ALICE, query={"max": 1})
    answer = front.send(case)
    assert wrong(case, answer) == ""
    spoils: list[dict[str, Any]] = [
        {"status_code": 418},
        {"status_code": 500},
        {"status_code": 503},
        {"content": b"{}\n"},
        {"content": answer.content.removesuffix(b"\n")},
        {"headers": {name: each for name, each in answer.headers.items() if name != "msg-id"}},
        {"headers": answer.headers | {"msg-id": ["17"]}},
        {"headers": answer.headers | {"cache-control": ["max-age=60"]}},
    ]
    for spoil in spoils:
        parts: dict[str, Any] = {name: getattr(answer, name) for name in ("status_code", "headers", "content")}
        assert wrong(case, Response(**parts | spoil, request=answer.request, elapsed=0, verify=False)), spoil
