"""A log on NATS servers that want credentials and speak TLS, and on one that cannot be trusted."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import nkeys
import pytest

from broker.replica.engine.names import StreamName
from broker.replica.jetstream.access import Access
from broker.replica.jetstream.log import JetStreamLog
from broker.replica.jetstream.streams import Streams, ask
from broker.replica.log import Appended, Down, Entries, Event, Purged, Reported, Up
from common.errors import StartError
from tests.e2e.cluster import PATIENCE, ROOT, wait_for
from tests.e2e.proxies import certificate
from tests.support.nats_cluster import NatsCluster

MAX_BATCH = 2**20
PASSWORD = "not-to-be-seen"
SEED = nkeys.encode_seed(bytes(range(32)), nkeys.PREFIX_BYTE_USER)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates and credentials."""
    folder = tmp_path_factory.mktemp("nats")
    certificate(folder)
    texts = {"password": f'user = "operator"\npassword = "{PASSWORD}"\n', "seed": SEED.decode()}
    texts["wrong"] = texts["password"].replace("operator", "nobody")
    for name, text in texts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def server(files: Path) -> Iterator[NatsCluster]:
    public = nkeys.from_seed(bytearray(SEED)).public_key.decode()
    cluster = NatsCluster(
        nodes=1,
        extra=f"""
            {(ROOT / "deploy/nats/permissions.conf").read_text()}
            tls {{ cert_file: "{files}/fanmail.crt", key_file: "{files}/fanmail.key" }}
            authorization {{ users: [
                {{ user: operator, password: {PASSWORD}, permissions: $FANMAIL_OPERATOR }},
                {{ nkey: {public}, permissions: $FANMAIL_BROKERS }}
            ] }}""",
    )
    yield cluster
    cluster.close()


def access(server: NatsCluster, files: Path, credentials: str, ca: str = "fanmail.crt") -> Access:
    return Access((server.nodes[0].url,), str(files / credentials), str(files / ca))


def await_event(log: JetStreamLog, kind: type[Event]) -> Event:
    def seen() -> Event | None:
        select.select([log.fileno], [], [], 0.1)
        return next((each for each in log.events() if isinstance(each, kind)), None)

    return wait_for(seen, kind.__name__)


def test_an_operator_makes_a_log_and_brokers_use_it_with_the_permissions_shipped(
    server: NatsCluster, files: Path
) -> None:
    name = StreamName("fanmail", "b0", os.urandom(8))
    operator, broker = access(server, files, "password"), access(server, files, "seed")
    ask(operator, lambda streams: streams.create(name, 2**24, 1))
    ask(operator, lambda streams: streams.begin(name, b"first"))
    assert ask(broker, lambda streams: streams.find("fanmail", "b0")) == name
    with (
        closing(JetStreamLog(broker, name, "h1", MAX_BATCH)) as one,
        closing(JetStreamLog(broker, name, "h2", MAX_BATCH)) as two,
    ):
        await_event(one, Up)
        await_event(two, Up)
        one.append(b"second", 1)
        assert await_event(one, Appended) == Appended(2)
        two.follow(1)
        assert await_event(two, Entries) == Entries([(1, b"first"), (2, b"second")])
        one.report(b"small")
        assert await_event(two, Reported) == Reported(b"small")
        one.purge(2)
        assert await_event(one, Purged) == Purged(2)
    for forbidden in (Streams.delete, partial(Streams.move_leader, server="n1")):
        with pytest.raises(StartError, match="permissions violation"):
            ask(broker, lambda streams, forbidden=forbidden: forbidden(streams, name))
    with pytest.raises(StartError, match="JetStream clustering support required"):
        ask(operator, lambda streams: streams.move_leader(name, "n1"))
    ask(operator, lambda streams: streams.delete(name))


@pytest.mark.parametrize(
    ("credentials", "ca", "says"), [("wrong", "fanmail.crt", "uthorization"), ("password", "", "ertificate")]
)
def test_who_is_refused_or_does_not_trust_the_server_says_so_without_secrets(
    server: NatsCluster, files: Path, credentials: str, ca: str, says: str
) -> None:
    whom = access(server, files, credentials, ca or "fanmail.crt")
    if not ca:
        whom = whom._replace(ca="", urls=(whom.urls[0].replace("nats:", "tls:"),))
    with closing(JetStreamLog(whom, StreamName("fanmail", "b0", bytes(8)), "h1", MAX_BATCH)) as log:
        down = await_event(log, Down)
    assert isinstance(down, Down)
    assert says in down.reason
    assert PASSWORD not in down.reason


def test_a_password_is_not_sent_to_a_server_that_says_it_has_no_tls(files: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"nats://127.0.0.1:{listener.getsockname()[1]}"
        whom = Access((url,), str(files / "password"), str(files / "fanmail.crt"))
        with closing(JetStreamLog(whom, StreamName("fanmail", "b0", bytes(8)), "h1", MAX_BATCH)) as log:
            stranger, _ = listener.accept()
            stranger.settimeout(PATIENCE)
            stranger.sendall(b'INFO {"server_id":"x","auth_required":true,"max_payload":1048576,"headers":true}\r\n')
            assert stranger.recv(4096) == b""
            down = await_event(log, Down)
            stranger.close()
    assert isinstance(down, Down)
    assert "does not offer TLS" in down.reason
