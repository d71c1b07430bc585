"""Requests: signatures that other implementations verify, bodies, ids; and what an answer means."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from fanmail.forward.answer import Outcome, answer_of
from fanmail.forward.delivery import Delivery, many_messages, one_message, signed_headers
from fanmail.message import Message
from tests.support.table import table

OLD, NEW = b"o" * 24, b"n" * 32


def named(secret: bytes) -> str:
    return "whsec_" + base64.b64encode(secret).decode()


def headers_of(delivery: Delivery, *secrets: bytes) -> dict[str, str]:
    now = int(datetime.now(UTC).timestamp())
    return {name.decode(): value.decode() for name, value in signed_headers(delivery, secrets, now)}


@table("body", [b'{"n":1}', "grün \u2028".encode(), b""])
def test_signatures_verify_with_another_implementation(body: bytes) -> None:
    delivery = one_message(Message("4f1c-17", body, "application/json"))
    headers = headers_of(delivery, NEW, OLD)
    for secret in (OLD, NEW):  # as receivers do before and after a rotation
        if body[:1] == b"{":
            assert Webhook(named(secret)).verify(body, headers) == json.loads(body)
    with pytest.raises(WebhookVerificationError):
        Webhook(named(b"x" * 24)).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(named(NEW)).verify(body + b" ", headers)


def test_a_signature_is_that_of_the_specification() -> None:
    delivery = Delivery("msg_p5jXN8AQM9LWM0D4loKWxJek", (), b'{"test": 2432232314}')
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = dict(signed_headers(delivery, [secret], 1614265330))
    assert headers[b"webhook-signature"] == b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_without_secrets_there_is_no_signature() -> None:
    assert "webhook-signature" not in headers_of(one_message(Message("e-1", b"x")))


def test_the_id_of_a_batch_is_that_of_just_its_messages() -> None:
    messages = [Message(f"e-{n}", b"x") for n in range(4)]
    ids = {many_messages(each).id for each in (messages, messages[:3], messages[1:], messages[:1])}
    assert len(ids) == 4
    assert many_messages(messages).id == many_messages(list(messages)).id


def test_a_line_of_a_batch_is_as_the_server_has_it_but_for_the_receipt() -> None:
    at = datetime(2026, 11, 27, 9, 30, 0, 120_000, UTC)
    message = Message("e-1", "grün\n".encode(), "text/plain", {"meta-a": "b"}, at, 2, receipt="e-1.2")
    expected = '{"id":"e-1","time":"2026-11-27T09:30:00.120Z","attempt":2,"type":"text/plain","meta":{"meta-a":"b"},'
    assert many_messages([message]).body.decode() == expected + '"text":"grün\\n"}\n'


NOW = 1_700_000_000.0
ANSWERS = {
    "200": (200, "", Outcome.DONE, 0),
    "204": (204, "", Outcome.DONE, 0),
    "301": (301, "", Outcome.REFUSED, 0),
    "307": (307, "5", Outcome.REFUSED, 0),
    "404": (404, "", Outcome.REFUSED, 0),
    "410": (410, "", Outcome.GONE, 0),
    "429 in seconds": (429, "120", Outcome.BUSY, 120),
    "503 at a date": (503, format_datetime(datetime.fromtimestamp(NOW + 90, UTC), usegmt=True), Outcome.BUSY, 90),
    "503 in the past": (503, format_datetime(datetime.fromtimestamp(NOW - 90, UTC), usegmt=True), Outcome.BUSY, 0),
    "503 without": (503, "", Outcome.BUSY, 0),
    "503 with nonsense": (503, "soon; 1e9, -5", Outcome.BUSY, 0),
    "429 for years": (429, "9" * 400, Outcome.BUSY, 43_200),
    "429 for days": (429, "99999999", Outcome.BUSY, 43_200),
    "500": (500, "120", Outcome.REFUSED, 0),
}


@table("case", ANSWERS)
def test_what_an_answer_means(case: str) -> None:
    status, retry_after, outcome, seconds = ANSWERS[case]
    found = answer_of(status, {"retry-after": retry_after}, NOW)
    assert (found.outcome, found.status, found.retry_after_s) == (outcome, status, seconds)
