"""The AsyncAPI description, against the published schema and against what is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft7Validator
from jsonschema.validators import Draft202012Validator

from common.errors import FanmailError
from common.protocol import ops
from httpfront.sessions import answers
from httpfront.sessions.answers import Mailbox, MessageForm
from httpfront.sessions.asyncapi import describe
from httpfront.sessions.table import SessionLimits
from tests.support.npm import node_modules
from tests.unit.httpfront.sessions.test_fuzz import WHOLE

DOCUMENT = describe(SessionLimits(1000, 255))
EPOCH = "0badcafe1"
ANN = Mailbox(b"t", b"ann", "t", "ann")


def errors(message: bytes) -> list[str]:
    """Return what is wrong with a message by the schema of its `op`."""
    found: dict[str, Any] = json.loads(message)
    schema = DOCUMENT["components"]["schemas"][found["op"]]
    return [error.message for error in Draft202012Validator(schema).iter_errors(found)]


@pytest.mark.slow
def test_the_description_fits_the_schema_of_asyncapi() -> None:
    schema = json.loads((node_modules() / "@asyncapi/specs/schemas/3.0.0.json").read_text())
    assert [error.message for error in Draft7Validator(schema).iter_errors(DOCUMENT)] == []


def test_references_lead_somewhere() -> None:
    seen = 0

    def walk(part: Any) -> None:
        nonlocal seen
        for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            walk(each)
        if isinstance(part, dict) and "$ref" in part:
            target: Any = DOCUMENT
            for step in part["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            seen += 1

    walk(DOCUMENT)
    assert seen > 20


def test_what_clients_send_fits() -> None:
    for each in WHOLE:
        assert errors(json.dumps(each).encode()) == []
    assert errors(b'{"op":"publish","topic":"","text":""}')
    assert errors(b'{"op":"read","topic":"t","user":"u","window":1001}')
    assert errors(b'{"op":"ack","topic":"t","user":"u","id":"x"}')
    assert errors(b'{"op":"ack","topic":"t","user":"u","receipts":[]}')
    assert errors(b'{"op":"ack","topic":"t","user":"u","receipts":["x"]}')
    assert errors(b'{"op":"stop","topic":"t","user":"u","more":1}')


def test_what_is_sent_fits() -> None:
    run = ops.Run(7, 2, 1_700_000_000_000, b"", b"\0\0\0\1a\0\0\0\1\xff", 2)
    lost = FanmailError("cursor-lost", "gone", oldest=f"{EPOCH}-9")
    sent = [
        answers.ok("r", {"created": True}),
        answers.ok("r", {"lost": [f"{EPOCH}-7.1"]}),
        *answers.stored([5, None, "é"], 1, EPOCH, 7),
        *answers.stored(["é"], 0, "", 0),
        answers.published("é", ops.Published(1, EPOCH, 7, 0, True)),
        answers.published(5, ops.Published(0, "", 0, 1_700_000_000_000)),
        answers.failed(None, ANN.members(), FanmailError("broker-down", "away")),
        answers.failed(1, {}, lost),
        answers.ended(ANN, lost),
        answers.gap(ANN, EPOCH, 3, 9),
    ]
    for leased in (False, True):
        sent += MessageForm(ANN, leased=leased).of_runs(EPOCH, [run]).texts
    assert [errors(each) for each in sent] == [[]] * len(sent)
    assert json.loads(sent[-2])["receipt"] == f"{EPOCH}-7.2"
    assert json.loads(sent[-1])["base64"] == "/w=="
