"""How a process gets into NATS: what is refused before anything is sent, in one line, without a secret in it."""

from __future__ import annotations

from pathlib import Path

import nkeys
import pytest

from broker.replica.jetstream.access import Access, Credentials, access_of, check_access, credentials_of
from common.config import BrokerSettings
from common.errors import StartError

LOCAL = "nats://127.0.0.1:4222"
SEED = nkeys.encode_seed(bytes(32), nkeys.PREFIX_BYTE_USER).decode()


def private(path: Path, text: str, mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_credentials_are_a_user_and_a_password_or_an_nkey(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    access = Access((LOCAL,), str(file))
    private(file, 'user = "fanmail"\npassword = "s3cret"\n')
    assert credentials_of(access) == Credentials("fanmail", "s3cret")
    private(file, f"{SEED}\n")
    assert credentials_of(access) == Credentials(seed=SEED)
    private(file, f"-----BEGIN NATS USER JWT-----\nab.cd.ef\n------END NATS USER JWT------\n\nKeep it secret.\n"
                  f"-----BEGIN USER NKEY SEED-----\n{SEED}\n------END USER NKEY SEED------\n")  # fmt: skip
    assert credentials_of(access) == Credentials(seed=SEED, jwt="ab.cd.ef")
    assert credentials_of(Access((LOCAL,))) is None


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        (SEED, 0o644, "accessible to other users"),
        (SEED[:-5], 0o600, "is not the seed"),
        ("-----BEGIN NATS USER JWT-----\nab.cd.ef\n------END NATS USER JWT------\n", 0o600, "is not the seed"),
        ('user = "fanmail"\npasword = "s3cret"', 0o600, "has neither"),
        ('password = "s3cret', 0o600, "has neither"),
        ("", 0o600, "has neither"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_not_shown(tmp_path: Path, text: str, mode: int, says: str) -> None:
    access = Access((LOCAL,), private(tmp_path / "credentials", text, mode))
    with pytest.raises(StartError) as caught:
        check_access(access)
    assert str(caught.value).startswith(str(tmp_path / "credentials"))
    assert says in str(caught.value)
    assert not [each for each in (SEED[:8], "s3cret", "ab.cd") if each in str(caught.value)]


def test_a_secret_is_not_in_what_is_printed() -> None:
    shown = repr(Credentials("fanmail", "s3cret", SEED, "ab.cd"))
    assert [each in shown for each in ("s3cret", SEED, "ab.cd")] == [False] * 3


@pytest.mark.parametrize(
    ("access", "says"),
    [
        (Access(("nats://10.0.0.1:4222",)), "without TLS"),
        (Access((LOCAL, "nats://h2:4222", "tls://h3:4222")), "without TLS"),
        (Access((LOCAL,), "/nowhere/credentials"), "No such file"),
        (Access((LOCAL,), ca="/nowhere/ca.pem"), "No such file"),
        (Access((LOCAL,), key="/nowhere/key.pem"), "needs its certificate"),
        (Access((LOCAL,), certificate="/nowhere/cert.pem"), "No such file"),
    ],
)
def test_what_cannot_work_or_is_not_private_is_refused(access: Access, says: str) -> None:
    with pytest.raises(StartError, match=says):
        check_access(access)


@pytest.mark.parametrize("urls", [(LOCAL,), ("nats://localhost:1",), ("nats://[::1]:1",), ("tls://h2:4222",)])
def test_loopback_and_tls_need_no_permission(urls: tuple[str, ...]) -> None:
    check_access(Access(urls))
    check_access(Access(("nats://h2:4222",)), insecure=True)


def test_without_servers_nothing_starts() -> None:
    with pytest.raises(StartError, match="--nats"):
        access_of(BrokerSettings())
    assert access_of(BrokerSettings(nats=(LOCAL,))).urls == (LOCAL,)
