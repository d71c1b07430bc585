"""Every call with every kind of key: which are allowed, which are not, and that a refused call has no effect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conftest import StartCluster
from tests.e2e.cluster import Answer, Client, Front, wait_for
from tests.e2e.keys import Headers, bearer, write_keys

ALL = """[
  {rights = ["publish"], topic = "*"}, {rights = ["subscribe", "consume"], topic = "*", user = "*"},
  {rights = ["admin"]}, {rights = ["metrics"]},
]"""
KEYS = {
    "publisher": 'allow = [{rights = ["publish"], topic = "*"}]',
    "subscriber": 'allow = [{rights = ["subscribe"], topic = "*", user = "*"}]',
    "consumer": 'allow = [{rights = ["consume"], topic = "*", user = "*"}]',
    "admin": 'allow = [{rights = ["admin"]}]',
    "metrics": 'allow = [{rights = ["metrics"]}]',
    "everything": f"allow = {ALL}",
    "nothing": "",
    "denied": f'allow = {ALL}\ndeny = [{{rights = ["publish", "subscribe", "consume"]}}, {{rights = ["admin"]}}]',
    "elsewhere": """allow = [
      {rights = ["publish"], topic = "other*"}, {rights = ["subscribe", "consume"], topic = "other*", user = "*"},
      {rights = ["subscribe", "consume"], topic = "*", user = "other*"},
    ]""",
    "expired": f"expires = 2020-01-01T00:00:00Z\nallow = {ALL}",
}
STRANGERS: dict[str, Headers] = {
    "no key": {},
    "an unknown key": bearer("unknown"),
    "a wrong secret": bearer("everything", "t"),
    "an expired key": bearer("expired"),
    "another scheme": {"Authorization": "Basic ZXZlcnl0aGluZzpzZWNyZXQ="},
    "two keys": {"Authorization": f"{bearer('everything')['Authorization']}, {bearer('everything')['Authorization']}"},
    "no ASCII": {"Authorization": bearer("everything")["Authorization"] + "\xf8"},
    "too much": {"Authorization": "Bearer fm_everything_" + "s" * 9000},
}
HOLDERS = [name for name in KEYS if name != "expired"]
WHO = {
    "publish": {"publisher", "everything"},
    "subscribe": {"subscriber", "everything"},
    "consume": {"consumer", "everything"},
    "admin": {"admin", "everything"},
    "metrics": {"metrics", "admin", "everything"},
    "any": set(HOLDERS),
    "open": set(HOLDERS),
}
"""The keys that may make a call, by the right that it needs."""

CALLS = """
public POST   /TOPIC                                                    publish   200
public POST   /TOPIC?batch=lines                                        publish   200
public POST   /TOPIC/new                                                subscribe 200
public POST   /TOPIC/alice                                              subscribe 200
public PATCH  /TOPIC/alice?max_deliveries=7                             subscribe 200
public DELETE /TOPIC/alice                                              subscribe 200
public GET    /TOPIC/alice                                              consume   200
public GET    /TOPIC/alice?lease=30                                     consume   200
public GET    /TOPIC/alice?max=5                                        consume   200
public HEAD   /TOPIC/alice                                              consume   200
public DELETE /TOPIC/alice/RECEIPT                                      consume   200
public PATCH  /TOPIC/alice/RECEIPT?lease=0                              consume   200
public POST   /TOPIC/alice/acks                                         consume   200
public GET    /TOPIC/alice/dead                                         consume   200
public HEAD   /TOPIC/alice/dead                                         consume   200
public POST   /TOPIC/alice/dead                                         consume   200
public DELETE /TOPIC/alice/dead                                         consume   200
public GET    /                                                         any       200
public HEAD   /                                                         any       200
public GET    /openapi.json                                             any       200
public HEAD   /openapi.json                                             any       200
public GET    /asyncapi.json                                            any       200
public HEAD   /asyncapi.json                                            any       200
public GET    /livez                                                    open      200
public HEAD   /livez                                                    open      200
public GET    /readyz                                                   open      200
public HEAD   /readyz                                                   open      200
public OPTIONS /TOPIC                                                   any       204
public OPTIONS /TOPIC/alice                                             any       204
public OPTIONS /TOPIC/alice/RECEIPT                                     any       204
public OPTIONS /TOPIC/alice/dead                                        any       204
public OPTIONS /                                                        any       204
public OPTIONS /livez                                                   open      204
public OPTIONS *                                                        open      204
ops    GET    /                                                         open      200
ops    HEAD   /                                                         open      200
ops    GET    /livez                                                    open      200
ops    HEAD   /livez                                                    open      200
ops    GET    /readyz                                                   open      200
ops    HEAD   /readyz                                                   open      200
ops    GET    /openapi.json                                             admin     200
ops    HEAD   /openapi.json                                             admin     200
ops    GET    /metrics                                                  metrics   200
ops    HEAD   /metrics                                                  metrics   200
ops    GET    /metrics/brokers                                          metrics   200
ops    HEAD   /metrics/brokers                                          metrics   200
ops    GET    /-/v1/topics                                              admin     200
ops    HEAD   /-/v1/topics                                              admin     200
ops    GET    /-/v1/topics/TOPIC                                        admin     200
ops    HEAD   /-/v1/topics/TOPIC                                        admin     200
ops    PATCH  /-/v1/topics/TOPIC?max_messages=5                         admin     200
ops    GET    /-/v1/topics/TOPIC/subscriptions                          admin     200
ops    HEAD   /-/v1/topics/TOPIC/subscriptions                          admin     200
ops    GET    /-/v1/topics/TOPIC/subscriptions/alice                    admin     200
ops    HEAD   /-/v1/topics/TOPIC/subscriptions/alice                    admin     200
ops    GET    /-/v1/topics/TOPIC/subscriptions/alice/messages           admin     200
ops    HEAD   /-/v1/topics/TOPIC/subscriptions/alice/messages           admin     200
ops    DELETE /-/v1/topics/TOPIC/subscriptions/alice/messages           admin     200
ops    DELETE /-/v1/topics/TOPIC                                        admin     200
ops    GET    /-/v1/delayed                                             admin     200
ops    GET    /-/v1/topics/TOPIC/delayed                                admin     200
ops    GET    /-/v1/topics/TOPIC/delayed/DELAYED                        admin     200
ops    DELETE /-/v1/topics/TOPIC/delayed/DELAYED                        admin     200
ops    DELETE /-/v1/topics/TOPIC/delayed                                admin     200
ops    GET    /-/v1/brokers                                             admin     200
ops    HEAD   /-/v1/brokers                                             admin     200
ops    PUT    /-/v1/brokers/b0/pause                                    admin     200
ops    DELETE /-/v1/brokers/b0/pause                                    admin     200
ops    PUT    /-/v1/brokers/b0/drain                                    admin     200
ops    DELETE /-/v1/brokers/b0/drain                                    admin     200
ops    GET    /-/v1/config                                              admin     200
ops    HEAD   /-/v1/config                                              admin     200
ops    OPTIONS /-/v1/topics                                             any       204
ops    OPTIONS /metrics                                                 any       204
ops    OPTIONS /                                                        open      204
ops    OPTIONS *                                                        open      204
"""
"""Port, method, path, the necessary right, and the status for those who have it."""
NO_CALLS = """
public PUT     /TOPIC                405
public GET     /TOPIC                405
public POST    /livez                403
public GET     /a/b/c/d              404
public GET     /TOPIC//              400
public GET     /TOPIC/%FF            400
public GET     /TOPIC/..             400
public GET     /%6Civez              405
public OPTIONS /TOPIC/%FF            400
public GET     *                     404
public DELETE  /livez                405
ops    GET     /nothing              404
ops    POST    /metrics              405
ops    GET     /-/v1/topics/%FF      400
ops    OPTIONS /nothing              404
ops    GET     *                     404
"""
"""Requests that are not calls, and the status for a key without rights. Without a key they are 401 like all others."""


class Call(NamedTuple):
    """A row of `CALLS`."""

    port: str
    method: str
    path: str
    need: str
    status: int


def rows(table: str) -> Iterator[list[str]]:
    return (line.split() for line in table.strip().splitlines())


class Mailbox:
    """A topic of one test, on which every call has something to do."""

    def __init__(self, front: Front, topic: str) -> None:
        self.web, self.ops = Client(front.port), Client(front.ops_port)
        self.topic, self.delayed = topic, ""
        assert self.call("public", "POST", "/TOPIC/alice?max_deliveries=1").status == 200
        for body in (b"dead", b"leased", b"waiting"):
            assert self.call("public", "POST", "/TOPIC", body).status == 200
        assert self.call("public", "POST", "/TOPIC?delay=3600", b"later").status == 200
        waiting = json.loads(self.call("ops", "GET", "/-/v1/topics/TOPIC/delayed").body)
        self.delayed = waiting["delayed"][0]["id"]
        dead = self.call("public", "GET", "/TOPIC/alice?lease=30").headers["Msg-Receipt"]
        assert self.call("public", "PATCH", f"/TOPIC/alice/{dead}?lease=0").status == 200
        self.receipt = self.call("public", "GET", "/TOPIC/alice?lease=600").headers["Msg-Receipt"]

    def call(
        self, port: str, method: str, path: str, body: bytes | None = None, headers: Headers | None = None
    ) -> Answer:
        """Make a call with `TOPIC`, `RECEIPT` and `DELAYED` filled in, by default with the key "everything"."""
        path = path.replace("TOPIC", self.topic).replace("DELAYED", self.delayed)
        if "RECEIPT" in path or path.endswith("/acks"):
            path, body = path.replace("RECEIPT", self.receipt), self.receipt.encode()
        client = self.web if port == "public" else self.ops
        return client.call(method, path, body, bearer("everything") if headers is None else headers)

    def state(self) -> dict[str, Any]:
        """Return everything that a call could have changed."""
        seen: dict[str, Any] = {"topics": []}
        asked = ("topics", "topics/TOPIC", "topics/TOPIC/subscriptions", "topics/TOPIC/delayed", "brokers")
        for path in (*asked, "topics/TOPIC/subscriptions/alice/messages?peek=100"):
            seen[path] = json.loads(self.call("ops", "GET", f"/-/v1/{path}").body)
        for row in (
            *seen["topics"]["topics"],
            seen["topics/TOPIC"],
            *seen["topics/TOPIC/subscriptions"]["subscriptions"],
        ):
            del row["oldest_age"]
        seen["brokers"] = [
            (each["id"], each["paused"], each["stats"]["messages"]) for each in seen["brokers"]["brokers"]
        ]
        seen["dead"] = self.call("public", "GET", "/TOPIC/alice/dead").body
        return seen

    def close(self) -> None:
        self.web.close()
        self.ops.close()


@pytest.fixture
def front(start_cluster: StartCluster, folder: Path) -> Front:
    path = write_keys(folder / "keys.toml", KEYS)
    front: Front = start_cluster(brokers=1, fronts=1, front_settings={"api_keys_file": path}).fronts[0]
    return front


@pytest.fixture
def mailbox(front: Front) -> Iterator[Mailbox]:
    mailbox = Mailbox(front, "mail")
    yield mailbox
    mailbox.close()


def calls() -> list[Call]:
    return [Call(port, method, path, need, int(status)) for port, method, path, need, status in rows(CALLS)]


def code_of(answer: Answer, call: Call) -> str:
    return "" if call.method == "HEAD" else answer.code


def test_strangers_are_let_in_nowhere_but_at_what_is_open_and_change_nothing(mailbox: Mailbox) -> None:
    before = mailbox.state()
    for call in calls():
        for stranger, headers in STRANGERS.items():
            answer = mailbox.call(call.port, call.method, call.path, b"from a stranger", headers)
            if call.need == "open":
                assert answer.status == call.status, (call, stranger, answer)
                continue
            assert answer.status == 401, (call, stranger, answer)
            assert code_of(answer, call) in ("", "unauthorized")
            given = stranger not in ("no key", "another scheme")
            assert answer.headers.get_all("WWW-Authenticate") == [
                'Bearer realm="fanmail"' + (', error="invalid_token"' if given else "")
            ]
    assert mailbox.state() == before


def test_strangers_learn_nothing_of_the_paths(mailbox: Mailbox) -> None:
    for port, method, path, _ in rows(NO_CALLS):
        for stranger, headers in STRANGERS.items():
            answer = mailbox.call(port, method, path, None, headers)
            assert answer.status == 401, (method, path, stranger, answer)
            assert "Allow" not in answer.headers
            assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_who_has_a_key_is_told_of_what_is_no_call(mailbox: Mailbox) -> None:
    for port, method, path, status in rows(NO_CALLS):
        answer = mailbox.call(port, method, path, None, bearer("nothing"))
        assert answer.status == int(status), (port, method, path, answer)


def test_keys_without_the_right_are_refused_and_change_nothing(mailbox: Mailbox) -> None:
    before = mailbox.state()
    for call in calls():
        for holder in HOLDERS:
            if holder in WHO[call.need]:
                continue
            answer = mailbox.call(call.port, call.method, call.path, b"from one who may not", bearer(holder))
            assert answer.status == 403, (call, holder, answer)
            assert code_of(answer, call) in ("", "forbidden")
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="fanmail", error="insufficient_scope"'
    assert mailbox.state() == before


def test_a_right_goes_before_parameters_and_body(mailbox: Mailbox) -> None:
    for method, path, body in (("GET", "/TOPIC/alice?nonsense=1", None), ("POST", "/TOPIC?batch=frames", b"\0")):
        assert mailbox.call("public", method, path, body, bearer("nothing")).status == 403
        assert mailbox.call("public", method, path, body).status == 400


def test_the_page_and_the_name_go_before_the_key(start_cluster: StartCluster, folder: Path) -> None:
    settings = {"api_keys_file": write_keys(folder / "keys.toml", KEYS), "allowed_hosts": "mail.example"}
    front = start_cluster(brokers=1, fronts=1, front_settings=settings).fronts[0]
    foreign, other = {"Origin": "https://evil.example"}, {"Host": "evil.example"}
    for client in (Client(front.port), Client(front.ops_port)):
        for headers in (*STRANGERS.values(), bearer("everything")):
            assert client.call("GET", "/openapi.json", headers=headers | foreign).code == "foreign-origin"
            assert client.call("GET", "/openapi.json", headers=headers | foreign | other).code == "wrong-host"
            assert client.call("GET", "/livez", headers=headers | other).status == 200
        own = {"Host": "Mail.Example:8443", "Origin": "https://mail.example:8443"}
        assert client.call("GET", "/openapi.json", headers=bearer("everything") | own).status == 200
        client.close()


def test_keys_with_the_right_may(front: Front) -> None:
    """Make each call where it has something to do: a call that was refused above would have had effects."""
    for number, call in enumerate(calls()):
        for holder in sorted(WHO[call.need]):
            mailbox = Mailbox(front, f"t{number}-{holder}")
            answer = mailbox.call(call.port, call.method, call.path, b"from one who may", bearer(holder))
            assert answer.status == call.status, (call, holder, answer)
            if call.path.endswith(("/b0/pause", "/b0/drain")):
                assert mailbox.call("ops", "DELETE", "/-/v1/brokers/b0/pause").status == 200
            mailbox.close()


def test_only_who_has_a_key_is_told_which_brokers_are_missing(start_cluster: StartCluster, folder: Path) -> None:
    path = write_keys(folder / "keys.toml", KEYS)
    cluster = start_cluster(brokers=2, fronts=1, front_settings={"api_keys_file": path})
    front = cluster.fronts[0]
    cluster.brokers["b1"].kill()
    for client in (Client(front.port), Client(front.ops_port)):
        wait_for(lambda client=client: client.call("GET", "/readyz?strict=1").status == 503, "b1 to be missed")
        assert json.loads(client.call("GET", "/readyz", headers=bearer("nothing")).body)["missing"] == ["b1"]
        for headers in STRANGERS.values():
            answer = client.call("GET", "/readyz", headers=headers)
            assert json.loads(answer.body) == {"ready": True, "draining": False, "brokers": 2}
            assert client.call("GET", "/readyz?strict=1", headers=headers).status == 503
        client.close()
