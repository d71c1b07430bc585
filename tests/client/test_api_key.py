"""API keys: where they come from, where they are sent, and that they are not disclosed."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fanmail import ONCE, Admin, AsyncClient, Client, Denied, ServerFault, Unavailable
from fanmail.cli.main import command
from tests.client.fake_sessions import FakeSessions
from tests.client.listening import Listening, Quiet
from tests.client.proxy import FORBID, Proxy
from tests.e2e.cluster import Cluster
from tests.support.table import table

KEY = "fm_orders-2026_c2VjcmV0LXNlY3JldC1zZWNyZXQ"
OTHER = "fm_other_b3RoZXItb3RoZXItb3RoZXI"


@pytest.fixture
def locked(cluster: Cluster) -> Iterator[Proxy]:
    """Start a front that requires the key."""
    with Proxy(cluster.fronts[0].port, key=KEY) as proxy:
        yield proxy


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(f"  {KEY} \r\nsome remark\n")
    return path


def test_a_key_opens_what_is_locked(locked: Proxy, topic: str) -> None:
    with Client(locked.url, KEY) as client:
        assert client.subscribe(topic, "ann")
        client.publish(topic, "x")
        assert [each.text for each in client.messages(topic, "ann", until_empty=True)] == ["x"]
    assert set(locked.credentials) == {f"Bearer {KEY}"}


def test_asyncio_sends_it_too(locked: Proxy, topic: str) -> None:
    async def main() -> None:
        async with AsyncClient(locked.url, api_key=KEY) as client:
            assert await client.subscribe(topic, "ann")

    asyncio.run(main())


def test_it_comes_from_the_environment_or_a_file(
    locked: Proxy, topic: str, monkeypatch: pytest.MonkeyPatch, key_file: Path
) -> None:
    def sent(**options: str) -> str | None:
        with Client(locked.url, **options) as client, suppress(Denied):
            client.subscribe(topic, "ann")
        return locked.credentials[-1]

    assert sent() is None
    monkeypatch.setenv("FANMAIL_API_KEY_FILE", str(key_file))
    assert sent() == f"Bearer {KEY}"
    monkeypatch.setenv("FANMAIL_API_KEY", OTHER)
    assert sent() == f"Bearer {OTHER}"
    assert sent(api_key=KEY) == f"Bearer {KEY}"
    assert sent(api_key="") is None


@pytest.mark.parametrize("key", [None, OTHER])
def test_no_key_or_another_is_denied_at_once(locked: Proxy, topic: str, key: str | None) -> None:
    with Client(locked.url, key) as client:
        for call in (client.subscribe, client.receive, client.stand):
            with pytest.raises(Denied) as caught:
                call(topic, "ann")
            assert caught.value.status == 401
    assert len(locked.seen) == 3


def test_what_the_key_has_no_right_to_is_denied_at_once(cluster: Cluster, topic: str) -> None:
    with Proxy(cluster.fronts[0].port, lambda *_: FORBID, KEY) as proxy, Client(proxy.url, KEY) as client:
        with pytest.raises(Denied, match="forbidden"):
            client.publish(topic, "x")
        assert len(proxy.seen) == 1


@pytest.mark.parametrize("key", ["qzx b", "qzx\nb", "qzx\x00b", "qzxü", " qzx", "qzx\r\nX-Evil: 1", "qzx" * 5000])
def test_what_no_header_can_carry_is_refused_and_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Client, AsyncClient, Admin):
        with pytest.raises(ValueError) as caught:
            kind(api_key=key)
        assert "qzx" not in repr(caught.value)
    if "\0" not in key:
        monkeypatch.setenv("FANMAIL_API_KEY", key)
        with pytest.raises(ValueError, match="FANMAIL_API_KEY"):
            Client()


def test_a_file_that_gives_no_key_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").write_text("\nsecond line\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\n")
    wanted = {"missing": "No such file", "": "Is a directory", "empty": "is empty", "binary": "is not an API key"}
    for name, words in wanted.items():
        monkeypatch.setenv("FANMAIL_API_KEY_FILE", str(tmp_path / name))
        with pytest.raises(ValueError, match=words) as caught:
            Client()
        assert "FANMAIL_API_KEY_FILE" in str(caught.value)
        assert str(tmp_path / name) in str(caught.value)


def test_there_is_one_way_to_say_who_one_is() -> None:
    for options in ({"urls": "http://ann:word@127.0.0.1:1"}, {"headers": {"authorization": "Basic x"}}):
        with pytest.raises(ValueError, match="Authorization"):
            Client(**options, api_key=KEY)
        Client(**options).close()


def test_a_header_of_the_callers_own_comes_before_the_environment(
    locked: Proxy, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FANMAIL_API_KEY", OTHER)
    with Client(locked.url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        assert client.subscribe(topic, "ann")


def test_no_text_shows_the_key(locked: Proxy, topic: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client = Client([locked.url, "http://127.0.0.1:1"], KEY)
    errors: list[BaseException] = []
    client.subscribe(topic, "ann")
    for call in (lambda: client.receive(topic, "nobody"), lambda: client.publish(topic, headers={"Meta-A": "\n"})):
        try:
            call()
        except Exception as error:
            errors.append(error)
    headers = repr(client._connections.get().headers)
    client.close()
    try:
        Client("http://127.0.0.1:1", KEY, retries=ONCE).receive(topic, "ann")
    except Unavailable as error:
        errors.append(error)
    assert len(errors) == 3
    assert "Request" in caplog.text
    texts = [repr(client), str(client), repr(vars(client)), repr(client._exchange), headers]
    texts += ["".join(traceback.format_exception(each)) for each in errors] + [caplog.text]
    assert not [each for each in texts if KEY in each or KEY[-10:] in each]


def test_no_text_of_a_session_shows_the_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with FakeSessions() as server, Client(server.url, KEY) as client, client.session() as session:
        session.publish("t", "x")
        server.refusals = [(403, "forbidden")]
        server.drop()
        with pytest.raises(Denied) as raised:
            next(session.read("t", "u"))
        engine = session._engine
        texts = [repr(each) for each in (session, vars(session), vars(engine), vars(engine.state))]
        texts.append("".join(traceback.format_exception(raised.value)))
        assert server.requests[0].headers["Authorization"] == f"Bearer {KEY}"
    logged = [each for each in caplog.records if not each.name.startswith("websockets.server")]  # which is the test's
    texts += [each.getMessage() for each in logged]
    assert not [each for each in texts if KEY in each or KEY[-10:] in each]


class Elsewhere(Listening):
    """A server that redirects to `target` or responds with 200, and records what it received."""

    def __init__(self, status: int, target: str = "") -> None:
        self.seen: list[str | None] = []
        seen = self.seen

        class Handler(Quiet):
            def do_GET(self) -> None:
                seen.append(self.headers["Authorization"])
                self.send_response(status)
                if target:
                    self.send_header("Location", target)
                self.send_header("Content-Length", "0")
                self.end_headers()

        super().__init__(Handler)


@table("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with Elsewhere(200) as other, Elsewhere(status, f"{other.url}/t/u") as here, Client(here.url, KEY) as client:
        with pytest.raises(ServerFault, match=str(status)):
            client.receive("t", "u")
        assert here.seen == [f"Bearer {KEY}"]
        assert other.seen == []


def test_a_password_in_a_base_url_is_not_shown() -> None:
    with Client("http://ann:passw0rd@127.0.0.1:1", retries=ONCE) as client, pytest.raises(Unavailable) as caught:
        client.receive("t", "u")
    assert "passw0rd" not in str(caught.value)
    with pytest.raises(ValueError) as refused:
        Client("ftp://ann:passw0rd@127.0.0.1")
    assert "passw0rd" not in str(refused.value)


def run(url: str, *arguments: str, **environ: str) -> Result:
    env: dict[str, str | None] = {"FANMAIL_URL": url, "FANMAIL_API_KEY": None, "FANMAIL_API_KEY_FILE": None}
    return CliRunner().invoke(command, list(arguments), env=env | environ, prog_name="fanmail")


def test_the_command_takes_a_file_or_the_environment(locked: Proxy, topic: str, key_file: Path) -> None:
    denied = run(locked.url, "subscribe", topic, "ann")
    assert (denied.exit_code, "unauthorized" in denied.stderr) == (5, True)
    assert run(locked.url, "subscribe", topic, "ann", "--api-key-file", str(key_file)).exit_code == 0
    assert run(locked.url, "publish", topic, "x", FANMAIL_API_KEY=KEY).exit_code == 0
    assert run(locked.url, "read", topic, "ann", FANMAIL_API_KEY_FILE=str(key_file)).stdout == "x\n"
    given = ("--api-key-file", str(key_file))
    assert run(locked.url, "status", topic, "ann", *given, FANMAIL_API_KEY=OTHER).exit_code == 0
    assert run(locked.url, "status", topic, "ann", FANMAIL_API_KEY=OTHER).exit_code == 5


def test_the_command_says_what_is_wrong_with_a_key_file(locked: Proxy, topic: str, tmp_path: Path) -> None:
    done = run(locked.url, "status", topic, "ann", "--api-key-file", str(tmp_path / "missing"))
    assert (done.exit_code, "No such file" in done.stderr) == (2, True)
    done = run(locked.url, "status", topic, "ann", FANMAIL_API_KEY="bad key")
    assert (done.exit_code, "bad key" in done.output, "FANMAIL_API_KEY" in done.stderr) == (2, False, True)


def test_there_is_no_option_for_a_key_itself(locked: Proxy) -> None:
    assert run(locked.url, "status", "t", "u", "--api-key", KEY).exit_code == 2
