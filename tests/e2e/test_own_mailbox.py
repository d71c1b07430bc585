"""A rule with `{sub}`: nobody reads the mailbox of another user, however the path spells the name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import StartCluster
from tests.e2e.cluster import Client, Front
from tests.e2e.keys import bearer, write_keys

OWN = 'allow = [{rights = ["subscribe", "consume"], topic = "*", user = "{sub}"}]'
KEYS = {
    "alice": OWN,
    "alice-2": f'subject = "alice"\n{OWN}',
    "bob": OWN,
    "star": f'subject = "*"\n{OWN}',
    "slash": f'subject = "a/b"\n{OWN}',
    "root": """allow = [
      {rights = ["publish"], topic = "*"}, {rights = ["subscribe", "consume"], topic = "*", user = "*"}]""",
}
BOB = ["bob", "%62ob", "b%6Fb", "%62%6f%62", "b%6fb"]
"""Spellings of bob."""
NOBODY = [
    "Bob",
    "BOB",
    "%2562ob",
    "bob%20",
    "%20bob",
    "alice%2Fbob",
    "alice%2F..%2Fbob",
    "bob%3Fx",
    "alice%3B",
    "%EF%BD%82ob",
]
"""Spellings of names that are neither bob nor alice."""
NO_NAMES = ["..", "%2E%2E", ".", "%2e", "bob%00", "bob%0A", "%FF", ""]


@pytest.fixture
def front(start_cluster: StartCluster, folder: Path) -> Front:
    path = write_keys(folder / "keys.toml", KEYS)
    front: Front = start_cluster(brokers=1, fronts=1, front_settings={"api_keys_file": path}).fronts[0]
    for user in ("alice", "bob", "%2A", "a%2Fb"):
        assert front.web.call("POST", f"/news/{user}", headers=bearer("root")).status == 200
    assert front.web.call("POST", "/news?batch=lines", b"one\ntwo\n", bearer("root")).status == 200
    return front


def pending(front: Front, user: str) -> tuple[str | None, str | None]:
    answer = front.web.call("HEAD", f"/news/{user}", headers=bearer("root"))
    return answer.headers["Msg-Pending"], answer.headers["Msg-Leased"]


def test_everybody_reads_their_own(front: Front) -> None:
    for key, user in (("alice", "alice"), ("alice-2", "%61lice"), ("bob", "bob"), ("star", "%2A"), ("star", "*")):
        assert front.web.call("GET", f"/news/{user}", headers=bearer(key)).status == 200
    assert front.web.call("GET", "/news/a%2Fb", headers=bearer("slash")).status == 200


@pytest.mark.parametrize("key", ["alice", "star", "slash"])
def test_nobody_reads_anothers_however_it_is_spelt(front: Front, key: str) -> None:
    receipt = front.web.call("GET", "/news/bob?lease=600", headers=bearer("bob")).headers["Msg-Receipt"]
    before = pending(front, "bob")
    assert before == ("1", "1")
    for user in BOB + NOBODY:
        for method, path in (
            ("GET", f"/news/{user}"),
            ("GET", f"/news/{user}?after=0"),
            ("GET", f"/news/{user}?wait=0"),
            ("HEAD", f"/news/{user}"),
            ("POST", f"/news/{user}"),
            ("PATCH", f"/news/{user}?max_deliveries=1"),
            ("DELETE", f"/news/{user}"),
            ("DELETE", f"/news/{user}/{receipt}"),
            ("PATCH", f"/news/{user}/{receipt}?lease=0"),
            ("POST", f"/news/{user}/acks"),
            ("GET", f"/news/{user}/dead"),
            ("POST", f"/news/{user}/dead"),
            ("DELETE", f"/news/{user}/dead"),
        ):
            for target in (path, f"http://{front.port}.example{path}"):
                answer = front.web.call(method, target, receipt.encode(), bearer(key))
                assert answer.status == 403, (method, target, answer)
    assert pending(front, "bob") == before


def test_dots_and_slashes_lead_nowhere(front: Front) -> None:
    before = pending(front, "bob")
    for user in NO_NAMES:
        for method in ("GET", "DELETE", "POST"):
            answer = front.web.call(method, f"/news/{user}", headers=bearer("alice"))
            assert (answer.status, answer.code) == (400, "bad-name"), (method, user, answer)
    for path, status in (
        ("/news/alice/../bob", 404),
        ("/news/alice/%2E%2E/bob", 404),
        ("/news/alice/..%2Fbob", 405),
        ("/news/./bob", 405),
        ("/news//bob", 400),
        ("//news/bob", 400),
        ("/./news/bob", 405),
        ("/news%2Fbob", 405),
        ("/news/bob/", 400),
        ("/news/bob?user=alice", 403),
        ("/news/bob;alice", 403),
        ("/news/bob#alice", 400),
        ("/news\\bob", 405),
    ):
        client = Client(front.port)
        answer = client.call("GET", path, headers=bearer("alice"))
        assert answer.status == status, (path, answer)
        client.close()
    assert pending(front, "bob") == before


def test_a_receipt_of_anothers_is_good_for_nothing_in_ones_own_mailbox(front: Front) -> None:
    receipt = front.web.call("GET", "/news/bob?lease=600", headers=bearer("bob")).headers["Msg-Receipt"]
    front.web.call("DELETE", f"/news/alice/{receipt}", headers=bearer("alice"))
    front.web.call("PATCH", f"/news/alice/{receipt}?lease=0", headers=bearer("alice"))
    answer = front.web.call("POST", "/news/alice/acks", receipt.encode(), bearer("alice"))
    assert json.loads(answer.body)["done"] is False
    assert pending(front, "bob") == ("1", "1")
    assert front.web.call("DELETE", f"/news/bob/{receipt}", headers=bearer("bob")).status == 200
