"""Conformance of a front to its OpenAPI description: requests generated from it, and responses checked against it.

Needs schemathesis. A wrong response does not raise an exception but is recorded, so that one run shows all of them.
"""

from __future__ import annotations

import copy
import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from struct import pack
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import CheckContext, GenerationMode, Response, checks
from schemathesis.core.failures import FailureGroup
from schemathesis.core.parameters import ParameterLocation

Case = schemathesis.Case[Any]
PROBLEM = "application/problem+json"
NDJSON = "application/x-ndjson"
FRAMES = "application/vnd.fanmail.frames"

TOPICS = ("news", "rooms%2Fblue", "livez")
USERS = ("alice", "bj%C3%B8rn")
"""The few names that most cases use, as in a path, so that they meet existing topics and users."""
ACCEPTED = ("*/*", NDJSON, FRAMES, "image/png")
KEYS = ("once", '"twice"')
KNOWN = 0.8
"""The share of cases whose names, receipts and cursors are replaced by ones that exist."""
DROPPED = 0.4
"""The share of optional parameters that are omitted: generated cases mostly have all of them."""
BEYOND_SCHEMAS = (
    "batch",  # what a body must be depends on a parameter
    "bytes, at most",  # of a name: schemas count characters
    "no setting is given",
    "cannot be combined with after",
    "after and Last-Event-ID differ",
    "is allowed with lease=0 only",
)
"""Parts of the details of refusals whose reason a schema cannot express."""
_CONFIG = {"checks": {"negative_data_rejection": {"expected-statuses": ["4xx"]}}}
_EXPONENT = re.compile(r"(?<==)(?<!\bafter=)[0-9.]+e-[0-9]+(?=&|$)")  # "1e-2" is a Msg-Id too


def no_server_error(ctx: CheckContext, response: Response, case: Case) -> bool | None:
    """Refuse 5xx, except "not executed" and "outcome unknown" as problem documents, and the response of /readyz."""
    if response.status_code < 500:
        return None
    kind = response.headers.get("content-type", [""])[0]
    assert response.status_code in (503, 504), f"{response.status_code}: {response.content[:200]!r}"
    assert kind == PROBLEM or case.path == "/readyz", f"{response.status_code} as {kind}"
    return None


def _read_lines(response: Response) -> list[Any]:
    lines = response.content.split(b"\n")
    assert lines.pop() == b"", "the last line has no end"
    return [json.loads(line) for line in lines]


@schemathesis.deserializer(NDJSON)
def _read_ndjson(ctx: schemathesis.DeserializationContext, response: Response) -> list[Any]:
    """Parse NDJSON as an array of its lines, as in the description."""
    return _read_lines(response)


schemathesis.openapi.media_type("application/octet-stream", st.binary(max_size=200))


def allowed_as_described(ctx: CheckContext, response: Response, case: Case) -> bool | None:
    """Expect 405 for exactly the methods that are not described.

    A fixed path is also the path of a topic, but `/` is the path of the empty name: 400.
    """
    paths = case.operation.schema.raw_schema["paths"]
    if (case.method, case.path) == ("POST", "/"):
        assert response.status_code == 400
        return None
    templates = {case.path} | ({"/{topic}"} if case.path.count("/") == 1 and case.path != "/" else set())
    methods = {method.upper() for path in templates for method in paths[path] if method != "parameters"}
    if case.method == "OPTIONS":
        assert response.status_code == 204
        methods.add("OPTIONS")
    assert (response.status_code == 405) == (case.method not in methods), f"{case.method} {response.status_code}"
    if response.status_code == 405:
        assert response.headers["content-type"] == [PROBLEM]
        assert response.headers["allow"] == [", ".join(sorted(methods | {"OPTIONS"}))]
    return None


def as_promised(ctx: CheckContext, response: Response, case: Case) -> bool | None:
    """Expect that a request that follows the description is not malformed, unless no schema can express the reason."""
    if response.status_code == 400 and case.meta and case.meta.generation.mode.is_positive:
        detail = str(json.loads(response.content)["detail"]) if response.content else BEYOND_SCHEMAS[0]
        assert any(reason in detail for reason in BEYOND_SCHEMAS), f"refused, but described: {detail}"
    return None


CHECKS = [
    no_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    allowed_as_described,
    as_promised,
]


def wrong(case: Case, response: Response) -> str:
    """Return what is wrong with a response, or ""."""
    try:
        case.validate_response(response, checks=CHECKS)
    except FailureGroup as failures:
        return f"{case.operation.label}: {failures}"
    return ""


def _without_exponents(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Return the numbers of the query in plain notation, as described: Python writes small ones with exponents."""
    assert request.url
    path, mark, query = request.url.partition("?")
    request.url = path + mark + _EXPONENT.sub(lambda found: format(Decimal(found[0]), "f"), query)
    return request


class Conformance:
    """Requests to one front, and the findings about their responses."""

    def __init__(self, document: Mapping[str, Any], port: int) -> None:
        self.api = schemathesis.openapi.from_dict(
            copy.deepcopy(dict(document)), config=schemathesis.Config.from_dict(_CONFIG)
        )
        self._url = f"http://127.0.0.1:{port}"
        self._session = requests.Session()
        self._session.headers.clear()  # it would replace the Accept of a case by its own
        self._session.auth = _without_exponents
        self.findings: list[str] = []
        self.statuses: Counter[tuple[str, int]] = Counter()
        """Numbers of responses by operation and status."""
        self.headers: set[str] = set()
        """The names of all received headers, in lower case."""

    @property
    def labels(self) -> list[str]:
        """All operations, such as "GET /{topic}/{user}"."""
        paths: dict[str, Any] = self.api.raw_schema["paths"]
        return [f"{method.upper()} {path}" for path in paths for method in paths[path] if method != "parameters"]

    def described(self, first_digit: str) -> Iterator[dict[str, Any]]:
        """Yield all described responses whose status begins with this text."""
        for label in self.labels:
            method, path = label.split(" ")
            responses = self.api.raw_schema["paths"][path][method.lower()]["responses"]
            yield from (each for status, each in responses.items() if status.startswith(first_digit))

    def systematic(self, label: str) -> Iterator[Case]:
        """Return every parameter of an operation at its bounds, missing, of another type; and undescribed methods."""
        method, path = label.split(" ")
        operation = self.api[path][method]
        return self.api.iter_coverage_cases(
            operation,
            generation_modes=list(GenerationMode),
            generation_config=self.api.config.generation_for(operation=operation),
        )

    def make(self, label: str, **parts: Any) -> Case:
        """Return a hand-written request."""
        method, path = label.split(" ")
        return self.api[path][method].Case(**parts)

    def ask(self, label: str, names: Mapping[str, str], **parts: Any) -> Response:
        """Send a hand-written request. `names` may be more than the path has."""
        return self.send(self.make(label, path_parameters=dict(names), **parts))

    def send(self, case: Case) -> Response:
        """Send a request, and add what is wrong with its response to `findings`."""
        response = case.call(base_url=self._url, session=self._session, timeout=30)
        self.statuses[case.operation.label, response.status_code] += 1
        self.headers.update(response.headers)
        found = wrong(case, response)
        if found:
            self.findings.append(found)
        return response


def generated(api: schemathesis.BaseSchema, label: str, mode: GenerationMode, count: int) -> list[Case]:
    """Return this many cases of an operation, the same every time. `mode`: whether they follow the description."""
    method, path = label.split(" ")
    found: list[Case] = []
    if not count:
        return found

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )
    @given(api[path][method].as_strategy(generation_mode=mode))
    def collect(case: Case) -> None:
        found.append(case)

    collect()
    return found


class Fuzz:
    """Generated cases, sent to a front one after another in one mixed order.

    Values that a server makes (receipts, ids) cannot be generated: they are remembered and inserted into later cases.
    """

    def __init__(self, front: Conformance, seed: int) -> None:
        self._front = front
        self._random = random.Random(seed)
        self._receipts: dict[tuple[str, str], list[str]] = {}
        self._ids: dict[str, list[str]] = {}

    def play(self, cases: list[Case]) -> None:
        """Send all cases in random order."""
        self._random.shuffle(cases)
        for case in cases:
            self._adapt(case)
            self._remember(case, self._front.send(case))

    def _adapt(self, case: Case) -> None:
        """Replace names and values, usually by existing or matching ones, where a case follows the description."""
        meta = case.meta
        if meta is None or self._random.random() > KNOWN:
            return
        kept = {where for where in ParameterLocation if not meta.is_negative_at(where)}
        if ParameterLocation.PATH in kept:
            self._name(case)
        if {ParameterLocation.QUERY, ParameterLocation.HEADER} <= kept:
            self._agree(case)
        if case.path.endswith("/acks") and ParameterLocation.BODY in kept:
            case.body = "\n".join(self._receipts.get(_who(case), [])[-3:]) or case.body

    def _agree(self, case: Case) -> None:
        """Use parameters and headers that match each other and what exists."""
        query, headers = case.query, case.headers
        needed = {each.name for each in case.operation.query if each.is_required}
        for name in [*query, *headers]:
            if name not in needed and self._random.random() < DROPPED:
                query.pop(name, None)
                headers.pop(name, None)
        if "lease" in query:
            query.pop("after", None)
            headers.pop("Last-Event-ID", None)
        if "after" in query:
            headers.pop("Last-Event-ID", None)
            query["after"] = self._pick(self._ids.get(case.path_parameters["topic"]), query["after"])
        if "delay" in query and "lease" in query:
            query["lease"] = 0
        if "max" in query and case.method == "GET":
            headers["Accept"] = self._random.choice(ACCEPTED)
        if "max_deliveries" in query:
            query["max_deliveries"] = self._random.choice((0, 1, 2))
        if "Idempotency-Key" in headers:
            headers["Idempotency-Key"] = self._random.choice(KEYS)
        if case.path == "/{topic}":
            self._publish(case)

    def _publish(self, case: Case) -> None:
        """Publish a message that a reader of this run can get."""
        case.headers["Meta-Colour"] = "bl\xe5"
        if case.query.get("batch") == "frames" and isinstance(case.body, bytes):
            case.body = pack(">I", len(case.body)) + case.body
        elif "batch" in case.query:
            case.query["batch"] = "lines"
        for name, value in {"delay": 0, "ttl": 60}.items():
            if name in case.query and self._random.random() < 0.7:
                case.query[name] = value

    def _name(self, case: Case) -> None:
        names = {"topic": self._random.choice(TOPICS), "user": self._random.choice(USERS)}
        case.path_parameters.update({name: names[name] for name in names if name in case.path_parameters})
        if "receipt" in case.path_parameters:
            given_out = self._receipts.get(_who(case))
            case.path_parameters["receipt"] = self._pick(given_out, case.path_parameters["receipt"])

    def _pick(self, known: list[str] | None, else_this: str) -> str:
        return self._random.choice([*known[-2:], *known[-2:], else_this]) if known else else_this

    def _remember(self, case: Case, response: Response) -> None:
        """Remember receipts and ids of a response."""
        headers = {name.lower(): values[0] for name, values in response.headers.items()}
        lines = _read_lines(response) if headers.get("content-type") == NDJSON else [{}]
        receipts = [headers.get("msg-receipt"), *(line.get("receipt") for line in lines)]
        self._receipts.setdefault(_who(case), []).extend(each for each in receipts if each)
        if "msg-id" in headers:
            self._ids.setdefault(case.path_parameters["topic"], []).append(headers["msg-id"])


def _who(case: Case) -> tuple[str, str]:
    names = case.path_parameters
    return str(names.get("topic")), str(names.get("user"))
