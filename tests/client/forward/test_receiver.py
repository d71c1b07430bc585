"""`fanmail forward` as a process, against a receiver in JavaScript that fails in every way."""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from fanmail import Client
from tests.client.commands import start
from tests.client.forward.receiver import Received, Receiver, task
from tests.e2e.cluster import wait_for

SECRETS = ("whsec_" + "QUJD" * 8, "whsec_" + "REVG" * 8)
QUICK = ("--delay", "0.05", "--max-delay", "0.2", "--timeout", "2", "--log-format", "json")

Forward = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def forward(urls: list[str], topic: str, receiver: Receiver) -> Iterator[Forward]:
    """Return a function that starts a forwarder from the user crew to the receiver."""
    started = []

    def begin(*options: str) -> subprocess.Popen[str]:
        process = start(",".join(urls), "forward", topic, "crew", receiver.url, *QUICK, *options)
        started.append(process)
        return process

    yield begin
    for each in started:
        each.kill()
        print(*each.communicate())  # what a failure shows


def end(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> list[dict[str, object]]:
    """Stop a forwarder. Return its log."""
    process.send_signal(number)
    _, log = process.communicate(timeout=30)
    assert process.returncode == 0, log
    return [json.loads(line) for line in log.splitlines()]


def test_every_message_arrives_whatever_the_receiver_does(
    client: Client, topic: str, receiver: Receiver, forward: Forward
) -> None:
    client.subscribe(topic, "crew")
    plans = [(), ("500",), ("close",), ("half",), ("302",), ("hang",), ("404", "503", "429")]
    client.publish_many(topic, [task(n, *plan, "204") for n, plan in enumerate(plans)])
    process = forward("--concurrency", "4")
    wait_for(lambda: set(receiver.accepted()) == set(range(len(plans))), "all messages")
    wait_for(lambda: _is_empty(client, topic), "acknowledgements")
    log = end(process)
    attempts = [each.number for each in receiver.received]
    assert all(attempts.count(n) >= len(plan) + 1 for n, plan in enumerate(plans))
    assert {each.url for each in receiver.received} == {"/hook"}, "redirects are not followed"
    failed = [each for each in log if each["event"] == "an attempt failed"]
    assert {each["outcome"] for each in failed} == {"refused", "unreachable", "timeout", "busy"}


def _is_empty(client: Client, topic: str) -> bool:
    status = client.status(topic, "crew")
    return (status.pending, status.leased) == (0, 0)


def verified(received: Received, secret: str) -> bool:
    with contextlib.suppress(Exception):
        Webhook(secret).verify(received.body, received.headers)
        return True
    return False


def test_a_request_is_the_message_with_its_headers_and_signatures(
    client: Client, topic: str, receiver: Receiver, forward: Forward, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets"
    secrets.write_text("# the newest one first\n" + "\n".join(SECRETS) + "\n")
    secrets.chmod(0o600)
    client.subscribe(topic, "crew")
    headers = {"Meta-Colour": "grün", "traceparent": "00-1-2-03", "ce-type": "x", "Content-Language": "de"}
    body = '{"n": 1, "grün": "\u2028"}'.encode()
    sent = client.publish(topic, body, type="application/json; charset=utf-8", headers=headers)
    process = forward("--secrets-file", str(secrets))
    wait_for(lambda: receiver.received, "the request")
    end(process)
    (received,) = receiver.received
    assert (received.method, received.body) == ("POST", body)
    assert received.headers["content-type"] == "application/json; charset=utf-8"
    assert received.headers["meta-colour"].encode("latin-1").decode() == "grün"
    assert [received.headers[name] for name in ("traceparent", "ce-type", "content-language")] == [
        "00-1-2-03",
        "x",
        "de",
    ]
    assert received.headers["webhook-id"] == sent.id
    assert all(verified(received, secret) for secret in SECRETS)
    assert not verified(received, "whsec_" + "R0hJ" * 8)
    assert SECRETS[0] not in " ".join(map(str, process.args))


def test_in_order_whatever_fails(client: Client, topic: str, receiver: Receiver, forward: Forward) -> None:
    client.subscribe(topic, "crew")
    plans = [("500", "close"), (), ("hang",), ("half",), (), ("429",)]
    client.publish_many(topic, [task(n, *plan, "204") for n, plan in enumerate(plans)])
    process = forward("--ordered")
    wait_for(lambda: len(set(receiver.accepted())) == len(plans), "all messages")
    end(process)
    assert list(dict.fromkeys(receiver.accepted())) == list(range(len(plans)))
    attempts = [each.number for each in receiver.received]
    assert attempts == sorted(attempts), "nothing is sent before what is older is done"


@pytest.mark.parametrize("option", ["", "--unsubscribe-on-gone"])
def test_gone_ends_it_with_exit_code_3(
    client: Client, topic: str, receiver: Receiver, forward: Forward, option: str
) -> None:
    client.subscribe(topic, "crew")
    client.publish_many(topic, [task(0, "410"), task(1)])
    process = forward(*option.split())
    _, log = process.communicate(timeout=30)
    assert process.returncode == 3, log
    assert [each.number for each in receiver.received] == [0]
    if option:
        assert client.subscribe(topic, "crew"), "there was no subscription any more"
    else:
        assert client.status(topic, "crew").pending == 2


def test_retry_after_is_waited_for(client: Client, topic: str, receiver: Receiver, forward: Forward) -> None:
    client.subscribe(topic, "crew")
    client.publish_many(topic, [task(0, "503 1", "204"), task(1, "429 date", "204")])
    process = forward()
    wait_for(lambda: set(receiver.accepted()) == {0, 1}, "both messages")
    end(process)
    times = [(each.at, each.answer) for each in receiver.received]
    for (at, answer), (following, _) in itertools.pairwise(times):
        if answer == "503 1":
            assert following - at >= 0.99, times
        elif answer == "429 date":
            assert following - at >= 0.9, "a date has whole seconds"


def test_batches_are_lines_with_an_id_each(client: Client, topic: str, receiver: Receiver, forward: Forward) -> None:
    client.subscribe(topic, "crew")
    bodies = [b"one", b"\xff", b'{"n": 3}']
    client.publish_many(topic, bodies, type="text/x", headers={"Meta-A": "b"})
    process = forward("--batch", "10")
    wait_for(lambda: receiver.received, "the request")
    wait_for(lambda: _is_empty(client, topic), "acknowledgements")
    end(process)
    (received,) = receiver.received
    lines = [json.loads(line) for line in received.body.splitlines()]
    assert received.headers["content-type"] == "application/x-ndjson"
    assert [each.get("text") or each["base64"] for each in lines] == ["one", "/w==", '{"n": 3}']
    assert {(each["type"], each["meta"]["meta-a"], each["attempt"]) for each in lines} == {("text/x", "b", 1)}
    assert len({each["id"] for each in lines} | {received.headers["webhook-id"]}) == 4
    assert not any("receipt" in each for each in lines)


def test_sigterm_lets_a_request_end_and_gives_everything_else_back(
    client: Client, topic: str, receiver: Receiver, forward: Forward
) -> None:
    client.subscribe(topic, "crew")
    client.publish_many(topic, [task(n, "hang") for n in range(3)])
    process = forward("--concurrency", "3", "--lease", "600", "--delay", "0.001")
    wait_for(lambda: len(receiver.received) >= 3, "the requests")
    end(process)
    status = client.status(topic, "crew")
    assert status.leased == 0
