"""The OpenAPI description as a document: whole, and made of the tables of settings and errors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from common.errors import ERRORS
from httpfront.formats.limits import MessageLimits
from httpfront.openapi.description import describe
from httpfront.openapi.parameters import Bounds
from httpfront.openapi.security import secured
from tests.support.table import table

LIMITS = MessageLimits(body=1001, batch=2002, batch_messages=303, fetch=404, fetch_bytes=5005)
DOCUMENT = json.loads(json.dumps(secured(describe(Bounds(LIMITS, max_name=66, max_wait=7.5)))))
WITHOUT_KEYS = describe(Bounds(LIMITS, max_name=66, max_wait=7.5))
ON_NO_CALL = {"no-route", "method-not-allowed", "no-topic", "no-broker", "no-delayed", "move-refused"}
"""What is answered to requests that are none of the calls, and to those of the operator."""
IN_SESSIONS = {"bad-op", "already-reading", "too-many-reads"}
"""What is answered over WebSocket only."""


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield path, method, operation


def within(node: Any) -> Iterator[Any]:
    """Every object in the document."""
    if isinstance(node, dict):
        yield node
        for each in node.values():
            yield from within(each)
    elif isinstance(node, list):
        for each in node:
            yield from within(each)


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """What a reference points to; itself where it is none."""
    found = DOCUMENT
    for name in node.get("$ref", "#").split("/")[1:]:
        found = found[name]
    return found if "$ref" in node else node


def parameters(path: str, operation: dict[str, Any]) -> list[dict[str, Any]]:
    return [resolved(each) for each in DOCUMENT["paths"][path].get("parameters", []) + operation["parameters"]]


def test_every_reference_leads_somewhere_and_every_component_is_used() -> None:
    used = {each["$ref"] for each in within(DOCUMENT) if "$ref" in each}
    kinds = {kind: found for kind, found in DOCUMENT["components"].items() if kind != "securitySchemes"}
    there = {f"#/components/{kind}/{name}" for kind, found in kinds.items() for name in found}
    assert used == there


def test_operations_have_names_of_their_own_and_links_lead_to_them() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)
    assert {each["operationId"] for each in within(DOCUMENT) if "operationId" in each} == set(names)


@table(("path", "method", "operation"), list(operations()))
def test_the_names_in_a_path_are_its_parameters(path: str, method: str, operation: dict[str, Any]) -> None:
    listed = parameters(path, operation)
    assert re.findall(r"\{(.*?)\}", path) == [each["name"] for each in listed if each["in"] == "path"]
    assert len({(each["name"], each["in"]) for each in listed}) == len(listed)


@table(("path", "method", "operation"), list(operations()))
def test_errors_stand_under_their_status(path: str, method: str, operation: dict[str, Any]) -> None:
    for status, response in operation["responses"].items():
        for code in codes(resolved(response)):
            assert ERRORS[code].status == int(status)


def codes(response: dict[str, Any]) -> list[str]:
    """The codes that a response may have."""
    problem = response.get("content", {}).get("application/problem+json", {"schema": {"allOf": [{}, {}]}})
    listed: list[str] = problem["schema"]["allOf"][1].get("properties", {}).get("code", {}).get("enum", [])
    return listed


def test_every_error_of_the_table_is_an_answer_to_some_call() -> None:
    given = {
        code
        for _, _, operation in operations()
        for each in operation["responses"].values()
        for code in codes(resolved(each))
    }
    assert given == set(ERRORS) - ON_NO_CALL - IN_SESSIONS


def test_errors_that_say_when_to_come_again_have_the_header() -> None:
    for _, _, operation in operations():
        for status, response in operation["responses"].items():
            again = {ERRORS[code].retry_after is not None for code in codes(resolved(response))}
            assert again <= {status in ("429", "503")}
            if status in ("429", "503"):
                assert resolved(response)["headers"]["Retry-After"]["required"]


def test_ceilings_are_those_of_the_settings() -> None:
    text = json.dumps(DOCUMENT)
    assert DOCUMENT["components"]["parameters"]["topic"]["schema"]["maxLength"] == 66
    for ceiling in ("1001", "2002", "303 messages", "303 receipts", "cut to 404", "5005 bytes", "cut to 7.5"):
        assert ceiling in text


def test_every_get_says_that_it_is_not_to_be_stored() -> None:
    for _, method, operation in operations():
        if method in ("get", "head"):
            for status in {"200", "204"} & set(operation["responses"]):
                assert operation["responses"][status]["headers"]["Cache-Control"]["required"]


def test_a_key_is_needed_for_all_but_the_probes_where_keys_are_asked_for() -> None:
    assert DOCUMENT["security"] == [{"apiKey": []}]
    assert DOCUMENT["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"
    for path, _, operation in operations():
        wanted = {"security"} if path in ("/livez", "/readyz") else set()
        assert {"security"} & set(operation) == wanted
        assert ("401" in operation["responses"]) == (not wanted)
        may_lack_the_right = "forbidden" in codes(resolved(operation["responses"]["403"]))
        assert may_lack_the_right == (path not in ("/livez", "/readyz", "/", "/openapi.json", "/asyncapi.json"))
    assert DOCUMENT["paths"]["/{topic}"]["post"]["description"].endswith("Needs the right `publish`.")


def test_the_guards_stand_before_every_call_and_probes_answer_to_any_name() -> None:
    for path, _, operation in operations():
        assert {"foreign-origin", "prefetch"} <= set(codes(resolved(operation["responses"]["403"])))
        assert ("421" in operation["responses"]) == (path not in ("/livez", "/readyz"))


def test_without_keys_nothing_is_said_of_them() -> None:
    assert "security" not in WITHOUT_KEYS
    assert "securitySchemes" not in WITHOUT_KEYS["components"]
    assert not re.search('unauthorized"|Unauthorized|WWW-Auth', json.dumps(WITHOUT_KEYS["paths"]))
