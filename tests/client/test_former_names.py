"""Names of earlier versions, which are still accepted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import fanmail
from fanmail import Admin, AsyncClient, Broker, Client, Message, Retries, Worked, admin_calls, batches, calls
from tests.client.commands import Run, lines
from tests.client.echo import Echo


@pytest.mark.parametrize("name", ["stand", "head"])
def test_former_names_of_status(name: str) -> None:
    assert getattr(calls, name)("t", "u").request == calls.status("t", "u").request
    assert hasattr(Client, name)
    assert fanmail.Standing is fanmail.SubscriptionStatus


@pytest.mark.parametrize("make", [calls.fetch, calls.fetch_frames, calls.dead, admin_calls.peek])
def test_most_is_limit(make: Callable[..., Any]) -> None:
    assert make("t", "u", most=7).request == make("t", "u", limit=7).request == make("t", "u", 7).request
    with pytest.raises(TypeError, match="'limit' and its former name 'most'"):
        make("t", "u", most=7, limit=7)


def test_former_names_of_pause_and_resume() -> None:
    assert admin_calls.drain("b0").request == admin_calls.pause("b0").request
    assert admin_calls.undrain("b0").request == admin_calls.resume("b0").request
    assert hasattr(Admin, "drain")
    assert hasattr(Admin, "undrain")
    paused = Broker("b0", True, False, True, 1024, None)
    assert (paused.paused, paused.draining, paused.state) == (True, True, "paused")


def test_most_of_batches_and_retries() -> None:
    assert [len(each) for each in batches([b"x"] * 5, most=2)] == [2, 2, 1]
    assert [len(each) for each in batches([b"x"] * 5, most_bytes=10)] == [2, 2, 1]
    assert Retries(most=2.0) == Retries(max_pause=2.0) == Retries(30.0, 0.1, 2.0)
    assert Retries(max_pause=2.0).most == 2.0


def test_most_of_work() -> None:
    async def handle(_: Message) -> None:
        pass

    async def work_async() -> Worked:
        async with AsyncClient(echo.url) as client:
            return await client.work("t", "u", handle, most=1, most_delay=9)

    with Echo() as echo, Client(echo.url) as client:
        assert client.work("t", "u", lambda _: None, most=1, most_delay=9) == Worked(done=1)
        assert asyncio.run(work_async()) == Worked(done=1)


def test_subcommands(run: Run) -> None:
    assert run("drain", "--help").stdout.splitlines()[1:] == run("pause", "--help").stdout.splitlines()[1:]
    assert run("undrain", "--help").stdout.splitlines()[1:] == run("resume", "--help").stdout.splitlines()[1:]
    assert "drain" not in run("--help").stdout
    for former, current in (("show", "status"), ("stand", "status"), ("end", "delete")):
        assert run(former, "--help").stdout.splitlines()[1:] == run(current, "--help").stdout.splitlines()[1:]


def test_options_of_the_command(run: Run, client: Client, topic: str) -> None:
    client.subscribe(topic, "ann")
    client.publish_many(topic, ["a", "b", "c"])
    assert len(lines(run("peek", topic, "ann", "--count", "2", "--json"))) == 2
    assert run("read", topic, "ann", "--count", "2", "--keep").stdout == "a\nb\n"
    assert "--count" not in run("read", "--help").stdout
    worked = run("work", topic, "ann", "--count", "3", "--most-delay", "5", "--json", "--", "cat", "--count")
    assert lines(worked) == [{"done": 0, "failed": 3, "lost": 0}], "the command's own options stay as they are"
