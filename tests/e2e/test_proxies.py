"""What the shipped configurations of nginx and HAProxy promise, each checked through the real program."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.e2e.cluster import PATIENCE, Answer, Client, Cluster, wait_for
from tests.e2e.fake_fronts import FakeFront
from tests.e2e.proxies import FILES, PROGRAMS, TLS_DOORS, Door, Proxy, running, tool
from tests.e2e.test_messages import MIB, curl, pieces
from tests.e2e.test_names import ILLEGAL
from tests.support.table import table

WAIT = 30
"""The longest wait of a client in seconds."""


@pytest.fixture(params=PROGRAMS)
def fake(request: pytest.FixtureRequest) -> Iterator[tuple[Proxy, FakeFront]]:
    """Start a proxy before a front that shows what reaches it."""
    with FakeFront() as front, running(request.param, [front.port]) as proxy:
        yield proxy, front


def head_of(front: FakeFront, target: str) -> dict[str, str]:
    """Return the header fields of the one request for a target, by lower-case name."""
    (head,) = [each for each in front.requests if each.split()[1] == target.encode()]
    lines = [line.partition(": ") for line in head.decode("latin-1").split("\r\n")[1:]]
    names = [name.lower() for name, _, _ in lines]
    assert len(set(names)) == len(names), "no field is there twice"
    return dict(zip(names, (value for _, _, value in lines), strict=True))


def test_the_program_has_no_complaint_about_its_file(fake: tuple[Proxy, FakeFront]) -> None:
    proxy, _ = fake
    check = {"nginx": ["-t", "-e", "stderr", "-c"], "haproxy": ["-c", "-f"]}[proxy.program]
    command = [tool(proxy.program), *check, str(proxy.file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert not re.search("warn|deprecat", said, re.IGNORECASE), said


@table("program", PROGRAMS)
def test_nothing_leads_to_an_operations_port(program: str) -> None:
    """Allow one call, on a port of its own: the figures of brokers."""
    directives = re.sub(r"#.*", "", FILES[program].read_text())
    listening = re.findall(r"(?:listen|bind) (.*:9[0-9]{3}\b)", directives)
    assert listening == ["127.0.0.1:9200"]
    named = {":9200", *(f":910{n}" for n in range(4))}
    assert set(re.findall(r":9[0-9]{3}\b", directives)) == named
    assert not re.search(r"\bstats\b|stub_status", directives)


@table("name", ILLEGAL.values())
def test_an_illegal_name_is_refused_here_or_there(door: Door, name: str) -> None:
    """Expect that nginx itself refuses broken escapes, NUL and what would leave the root."""
    door.web.subscribe("here", "there")
    targets = [("POST", f"/{name}"), ("GET", f"/{name}/there"), ("DELETE", f"/here/{name}"), ("POST", f"/here/{name}")]
    for method, path in targets:
        answer = door.client().call(method, path)
        assert answer.status == 400, (method, path)
        if answer.headers["Content-Type"] != "text/html":
            assert answer.code == "bad-name"
    assert door.web.call("HEAD", "/here/there").status == 200


def test_bytes_beyond_ascii_are_the_same_name_or_refused(door: Door) -> None:
    topic = door.topic("plain-utf8")
    with door.connect() as connection:
        connection.sendall(f"POST /{topic}/\xe9\xe8 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        status = connection.recv(65536).split()[1]
    assert status in (b"200", b"400")
    assert door.web.take(topic, "%C3%A9%C3%A8").status == (204 if status == b"200" else 404)


@table("method", ["HEAD", "PUT", "PATCH", "LOCK", "BREW", "TRACE"])
def test_other_methods_are_405(door: Door, method: str) -> None:
    answer = door.client().call(method, "/shape")
    assert answer.status == 405
    if method != "TRACE":  # nginx does not support it
        assert answer.headers["Allow"] == "OPTIONS, POST"


@table("chunked", [False, True])
def test_a_batch_of_8_mib_in_and_out_and_not_a_byte_more(door: Door, chunked: bool) -> None:
    topic = door.topic(f"large-{chunked}")
    door.web.subscribe(topic, "ann")
    size = MIB // 2 - 4
    body = b"".join(size.to_bytes(4, "big") + bytes([n]) * size for n in range(16))
    assert len(body) == 8 * MIB

    def publish(extra: bytes) -> Answer:
        whole = body + extra
        sent = (whole[at : at + 65536] for at in range(0, len(whole), 65536)) if chunked else whole
        return door.client().call("POST", f"/{topic}?batch=frames", sent)

    assert publish(b"").headers["Msg-Count"] == "16"
    with suppress(OSError):  # the refusal may arrive while the body is being sent
        assert publish(b"x").status == 413
    answer = door.web.call("GET", f"/{topic}/ann?max=16", headers={"Accept": "application/vnd.fanmail.frames"})
    assert answer.body == body
    assert door.web.take(topic, "ann").status == 204


def test_a_message_over_1_mib_is_413(door: Door) -> None:
    """Expect 413 even if the front sends it long before the end of the body."""
    topic = door.topic("toobig")
    door.web.subscribe(topic, "ann")
    for size in [MIB + 1, 7 * MIB] * 5:
        assert door.client().call("POST", f"/{topic}", b"m" * size).status == 413
    assert door.client().call("POST", f"/{topic}", pieces(65536, MIB + 1)).status == 413
    assert door.web.take(topic, "ann").status == 204


def test_odd_names_of_kept_headers(door: Door) -> None:
    topic = door.topic("kept")
    door.web.subscribe(topic, "ann")
    kept = {"Meta-a.b": "1", "Meta-!#$%&'*+-^`|~": "2", "ce-id": "3", "Meta-Long": "v" * 8000}
    dropped = {"Meta_c": "no", "ce_id": "no", "X_Request_Id": "no"}
    assert door.web.publish(topic, b"x", kept | dropped).status == 200
    got = door.web.take(topic, "ann").headers
    assert {name: got[name] for name in kept} == kept
    assert not [name for name, value in got.items() if value == "no"]
    assert door.web.publish(topic, b"x", {"Meta-Long": "v" * 8200}).status == 431


def test_targets_and_headers_are_measured_by_the_front(door: Door) -> None:
    long = "/" + door.topic("long") + "/" + "%41" * 255
    assert door.web.call("GET", long, headers={"X-A": "a" * 8000}).code == "no-subscription"
    target = f"/t/u?{'x' * 8187}"
    assert door.web.call("GET", target, headers={"X-A": "a" * 7600}).code == "bad-parameter"
    assert door.web.call("GET", target + "x").status == 414


def test_a_publish_wakes_a_wait(door: Door, cluster: Cluster) -> None:
    topic = door.topic("wakes")
    door.web.subscribe(topic, "ann")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(door.client().call, "GET", f"/{topic}/ann?wait={WAIT}")
        wait_for(lambda: cluster.waiters() == 1, "the wait to be parked")
        door.web.publish(topic, b"wake up")
        assert waiting.result().body == b"wake up"


def test_a_client_that_goes_away_while_it_waits_takes_nothing(door: Door, cluster: Cluster) -> None:
    topic = door.topic("vanish")
    door.web.subscribe(topic, "ann")
    for how in (socket.SHUT_WR, socket.SHUT_RDWR):
        connection = door.connect()
        connection.sendall(f"GET /{topic}/ann?wait={WAIT} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        wait_for(lambda: cluster.waiters() == 1, "the wait to be parked")
        connection.shutdown(how)
        wait_for(lambda: cluster.waiters() == 0, "the front to hear of it", WAIT / 3)
        connection.close()
    assert door.web.publish(topic, b"kept").headers["Msg-Subscribers"] == "1"
    assert door.web.drain(topic, "ann") == [b"kept"]


@pytest.mark.slow
def test_the_longest_wait_is_not_cut(cluster: Cluster) -> None:
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        calls = []
        for program in PROGRAMS:
            proxy = stack.enter_context(running(program, [front.port for front in cluster.fronts]))
            for scheme in ("http", "https"):
                door = Door(proxy, scheme)
                door.web.subscribe("longest", "ann")
                patient = door.client(timeout=WAIT + PATIENCE)  # it must be the front that ends the wait
                calls.append(pool.submit(patient.call, "GET", f"/longest/ann?wait={WAIT}"))
        for answer in [call.result() for call in calls]:
            assert (answer.status, answer.headers["Preference-Applied"]) == (204, f"wait={WAIT}")


@pytest.mark.parametrize("door", TLS_DOORS, indirect=True, ids=":".join)
def test_http2(door: Door, folder: Path, cluster: Cluster) -> None:
    topic, file, got = door.topic("h2"), folder / "body", folder / "got"
    file.write_bytes(bytes(range(256)) * (MIB // 256))
    base = ["--http2", "--insecure", "--include"]
    url = f"{door.url}/{topic}"
    assert curl(*base, "-X", "POST", f"{url}/a%2Fb").startswith("HTTP/2 200")
    headers = ["-H", "Meta-A: b", "-H", "Content-Type: a/b", "-H", "Expect: 100-continue"]
    assert "msg-subscribers: 1" in curl(*base, *headers, "--data-binary", f"@{file}", url)
    assert curl(*base, "--head", f"{url}/a%2Fb").startswith("HTTP/2 200")
    curl("--http2", "--insecure", "--dump-header", str(folder / "head"), "--output", str(got), f"{url}/a%2Fb")
    head = (folder / "head").read_text().lower()
    assert head.startswith("http/2 200")
    assert "meta-a: b" in head
    assert got.read_bytes() == file.read_bytes()
    assert curl(*base, f"{url}/a%2Fb").startswith("HTTP/2 204")
    waiting = subprocess.Popen(["curl", "--http2", "--insecure", "--silent", f"{url}/a%2Fb?wait={WAIT}"])
    wait_for(lambda: cluster.waiters() == 1, "the wait to be parked")
    waiting.kill()
    waiting.wait()
    wait_for(lambda: cluster.waiters() == 0, "the front to hear of it", WAIT / 3)


def test_a_large_body_that_waits_for_100_continue(door: Door, folder: Path) -> None:
    topic, file = door.topic("expect"), folder / "body"
    door.web.subscribe(topic, "ann")
    wait = ["--http1.1", "--insecure", "--expect100-timeout", str(int(PATIENCE)), "-H", "Expect: 100-continue"]
    for size, status in ((MIB, 200), (MIB + 1, 413)):
        file.write_bytes(b"x" * size)
        said = curl("-v", *wait, "--data-binary", f"@{file}", f"{door.url}/{topic}")
        assert f"HTTP/1.1 {status} " in said
        assert "100 Continue" in said or status == 413
    assert door.proxy.program == "nginx" or "100 Continue" not in said, "HAProxy asks the front first"
    assert len(door.web.take(topic, "ann").body) == MIB


def test_http_1_0(door: Door) -> None:
    url, old = f"{door.url}/{door.topic('old')}", ["--http1.0", "--insecure", "--include"]
    curl(*old, "-X", "POST", f"{url}/ann")
    curl(*old, "--data-binary", "from the past", url)
    assert curl(*old, f"{url}/ann").endswith("\n\nfrom the past")
    assert curl(*old, f"{url}/ann").startswith("HTTP/1.1 204 ")


def test_http_1_0_may_name_no_host(door: Door) -> None:
    with door.connect() as connection:
        connection.sendall(b"GET /nobody/here HTTP/1.0\r\n\r\n")
        assert b"no-subscription" in connection.recv(65536)


def test_the_guards_hold_behind_a_proxy(door: Door) -> None:
    topic = door.topic("guarded")
    door.web.subscribe(topic, "ann")
    door.web.publish(topic, b"precious")
    mailbox, host = f"/{topic}/ann", f"localhost:{door.port}"
    handshake = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    for headers, code in (
        ({"Sec-Fetch-Site": "cross-site"}, "foreign-origin"),
        ({"Origin": f"{door.scheme}://localhost"}, "foreign-origin"),
        ({"Sec-Fetch-Site": "cross-site", "Accept": "text/event-stream"}, "foreign-origin"),
        ({"Sec-Purpose": "prefetch"}, "prefetch"),
        ({"Host": f"evil.example:{door.port}"}, "wrong-host"),
        (handshake, "upgrade-required"),
    ):
        assert door.client().call("GET", mailbox, headers={"Host": host} | headers).code == code
    own = {"Host": host, "Origin": f"{door.scheme}://{host}", "Sec-Fetch-Site": "same-origin"}
    answer = door.client().call("GET", mailbox, headers=own)
    assert (answer.status, answer.body) == (200, b"precious")
    assert answer.headers["Content-Security-Policy"] == "sandbox"


def test_probes_of_monitors_and_balancers(door: Door) -> None:
    for method, path, status in (("OPTIONS", "/", 204), ("HEAD", "/livez", 200), ("GET", "/readyz", 200)):
        answer = door.client().call(method, path, headers={"Host": "any.example"} if path != "/" else None)
        assert answer.status == status
        assert answer.headers["Keep-Alive"] == "timeout=59", "the proxy's own, less than it keeps a connection"


def test_who_the_client_is_says_the_proxy_alone(fake: tuple[Proxy, FakeFront]) -> None:
    proxy, front = fake
    lies = (
        "Forwarded: for=9.9.9.9\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-Host: evil\r\n"
    )
    for scheme in ("http", "https"):
        with Door(proxy, scheme).connect(source="127.0.0.7") as connection:
            connection.sendall(f"GET /who/{scheme} HTTP/1.1\r\nHost: Mail.example:8443\r\n{lies}\r\n".encode())
            assert b" 200 " in connection.recv(65536)
        head = head_of(front, f"/who/{scheme}")
        told = {name: head.get(f"x-forwarded-{name}") for name in ("for", "proto", "host")}
        assert told == {"for": "127.0.0.7", "proto": scheme, "host": "Mail.example:8443"}
        assert head["host"] == "Mail.example:8443"
        assert "forwarded" not in head


def test_a_request_id_is_passed_on_or_made_and_told_to_both_sides(fake: tuple[Proxy, FakeFront]) -> None:
    proxy, front = fake
    web, made = Client(proxy.places.plain), set()
    for n, given in enumerate(("client-7/42", "two words", "x" * 129, "\xe9", "", None)):
        answer = web.call("GET", f"/id/{n}", headers={} if given is None else {"X-Request-Id": given})
        assert head_of(front, f"/id/{n}")["x-request-id"] == answer.headers["X-Request-Id"]
        made.add(answer.headers["X-Request-Id"])
    assert "client-7/42" in made
    assert len(made) == 6
    assert all(re.fullmatch("[!-~]{1,128}", each) for each in made)


def test_logs_have_no_names_and_no_keys(fake: tuple[Proxy, FakeFront]) -> None:
    proxy, _ = fake
    secret = {"Authorization": "Bearer s3cr3t", "Meta-A": "s3cr3t", "Host": "s3cr3t"}
    paths = {"/fine/s3cr3t": 200, "/s3cr3t?s3cr3t=1": 200, "/hang-up/s3cr3t": 502, "/half/s3cr3t": 502}
    for scheme in ("http", "https"):
        for path, status in paths.items():
            assert Door(proxy, scheme).client().call("POST", path, b"s3cr3t", secret).status == status
        with Door(proxy, scheme).connect() as connection:
            connection.sendall(b"GET /s3cr3t HTTP/1.1\r\nHost: s3cr3t\r\nA B: s3cr3t\r\n\r\n")
            assert b" 400 " in connection.recv(65536)
    Client(proxy.places.plain).call("GET", "/last", headers={"X-Request-Id": "the-last-one"})
    wait_for(lambda: "the-last-one" in proxy.log(), "the last line")
    assert "s3cr3t" not in proxy.log()
    lines = [json.loads(line) for line in proxy.log().splitlines() if line.startswith("{")]
    statuses = [each["status"] for each in lines if each["method"] != "GET"]
    assert Counter(statuses) == Counter([*paths.values(), *paths.values(), *[400] * statuses.count(400)])
    assert {each["client"] for each in lines} == {"127.0.0.1"}
