"""WebSocket sessions as real clients use them: WebSocket in Chromium, npm ws, the library websockets, our own."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from fanmail import Client
from tests.conftest import StartCluster
from tests.e2e.browser import Browser
from tests.e2e.cluster import PATIENCE, ROOT, Front
from tests.e2e.keys import bearer, token, write_keys
from tests.e2e.proxies import Door
from tests.e2e.test_metrics import tool
from tests.e2e.test_stream_clients import TEXTS, example, shown_across_a_kill
from tests.e2e.web_pages import serving_pages
from tests.support.npm import node_modules

HOW_TO = (ROOT / "docs" / "sessions.md").read_text()
PROTOCOL = Subprotocol("fanmail.v1.json")


def ask(socket: ClientConnection, **op: Any) -> dict[str, Any]:
    """Send an operation. Return the next frame."""
    socket.send(json.dumps(op))
    return told(socket)


def told(socket: ClientConnection) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(socket.recv(PATIENCE))
    return found


@pytest.mark.slow
def test_the_page_of_the_how_to_publishes_and_reads(start_cluster: StartCluster, folder: Path) -> None:
    with serving_pages() as (origin, pages), Browser(folder) as browser:
        cluster = start_cluster(brokers=1, fronts=1, front_settings={"cors_origins": origin})
        front: Front = cluster.fronts[0]
        pages["/"] = example("html", HOW_TO).replace("127.0.0.1:8100", f"127.0.0.1:{front.port}")
        browser.open(f"{origin}/")

        def submit(text: str) -> None:
            browser.run(f"document.querySelector('input').value = {json.dumps(text)}")
            browser.run("document.querySelector('form').requestSubmit()")

        lines = [text.replace("\n", "") for text in TEXTS[:3]]  # an input has one line
        assert shown_across_a_kill(cluster, browser, submit) == [*lines, *TEXTS[3:]]


@pytest.mark.slow
def test_a_page_needs_a_listed_origin_and_its_key(start_cluster: StartCluster, folder: Path) -> None:
    rules = '{rights = ["publish"], topic = "news"}, {rights = ["subscribe", "consume"], topic = "news", user = "*"}'
    keys = write_keys(folder / "keys.toml", {"page": f"allow = [{rules}]"})
    opened = """new Promise(done => {
        const socket = new WebSocket(%r, ["fanmail.v1.json", %r]);
        socket.onopen = () => socket.send(JSON.stringify({op: "read", topic: "news", user: "alice", mode: "take"}));
        socket.onmessage = event => done(JSON.parse(event.data).text);
        socket.onclose = event => done(event.code);
    })"""
    with serving_pages() as (origin, pages), Browser(folder) as browser:
        settings = {"cors_origins": origin, "api_keys_file": str(keys)}
        front: Front = start_cluster(brokers=1, fronts=1, front_settings=settings).fronts[0]
        assert front.web.call("POST", "/news/alice", headers=bearer("page")).status == 200
        front.web.publish("news", b"precious", bearer("page"))
        pages["/"] = "<!doctype html><title>page</title>"
        url, mine = f"ws://127.0.0.1:{front.port}/", f"bearer.{token('page')}"
        browser.open(f"{origin.replace('localhost', '127.0.0.1')}/")
        browser.until("document.title == 'page' && location.hostname == '127.0.0.1'")
        assert browser.run(opened % (url, mine)) == 1006, "its origin is not listed"
        browser.open(f"{origin}/")
        browser.until("document.title == 'page' && location.hostname == 'localhost'")
        assert browser.run(opened % (url, "bearer.wrong")) == 1006
        assert browser.run(opened % (url, mine)) == "precious"


def test_npm_ws_publishes_and_reads(front: Front) -> None:
    tool("npm")
    script = f"""
        import WebSocket from "ws";
        const socket = new WebSocket("ws://127.0.0.1:{front.port}/", "fanmail.v1.json"), seen = [];
        const mailbox = {{topic: "npm-ws", user: "ann"}};
        const send = op => socket.send(JSON.stringify(op));
        socket.on("open", () => {{
          send({{op: "subscribe", ...mailbox}});
          send({{op: "read", ...mailbox}});
          for (const text of {json.dumps(TEXTS)}) send({{op: "publish", topic: "npm-ws", text}});
        }});
        socket.on("message", data => {{
          const told = JSON.parse(data);
          if (told.op === "error") console.log(String(data));
          if (told.op !== "message" || seen.push(told.text) < {len(TEXTS)}) return;
          send({{op: "ack", ...mailbox, id: told.id, ref: "last"}});
          socket.once("message", () => socket.close(1000));
        }});
        socket.on("close", code => console.log(JSON.stringify([seen, code])));
    """
    argv = [tool("node"), "--input-type=module", "-e", script]
    done = subprocess.run(argv, cwd=node_modules().parent, capture_output=True, timeout=PATIENCE, check=True)
    assert json.loads(done.stdout) == [TEXTS, 1000]
    assert front.web.call("HEAD", "/npm-ws/ann").headers["Msg-Pending"] == "0"


def test_the_library_websockets_publishes_and_reads(front: Front) -> None:
    # It offers compression, sends fragments, and answers pings.
    with connect(f"ws://127.0.0.1:{front.port}/", subprotocols=[PROTOCOL]) as socket:
        assert socket.subprotocol == PROTOCOL
        mailbox = {"topic": "library", "user": "ann"}
        assert ask(socket, op="subscribe", ref=1, **mailbox) == {"op": "ok", "ref": 1, "created": True}
        whole = json.dumps({"op": "publish", "topic": "library", "text": "äbc", "ref": "two"}, ensure_ascii=False)
        socket.send(whole[at : at + 7] for at in range(0, len(whole), 7))
        assert told(socket)["ref"] == "two"
        assert socket.ping().wait(PATIENCE)
        assert ask(socket, op="read", ref=3, **mailbox)["op"] == "ok"
        message = told(socket)
        assert (message["op"], message["text"]) == ("message", "äbc")
        assert ask(socket, op="ack", ref=4, id=message["id"], **mailbox) == {"op": "ok", "ref": 4}


def test_a_session_passes_a_proxy(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = door.topic("session")
    monkeypatch.setenv("SSL_CERT_FILE", str(door.proxy.places.folder / "fanmail.crt"))
    with Client(door.url) as client, client.session() as session:
        session.subscribe(topic, "ann")
        answers = [session.publish_soon(topic, f"{n} " + "x" * 10_000) for n in range(100)]
        bodies = [message.text.split()[0] for _, message in zip(answers, session.read(topic, "ann"), strict=False)]
        assert bodies == [str(n) for n in range(100)]
        session.unsubscribe(topic, "ann")


def test_a_handshake_is_guarded_by_its_origin_behind_a_proxy(door: Door) -> None:
    tls = (
        ssl.create_default_context(cafile=door.proxy.places.folder / "fanmail.crt") if door.scheme == "https" else None
    )

    async def status(origin: str) -> int:
        # Not the client for threads: over TLS, Python before 3.13 lets two threads use one connection at once.
        socket = connect_async(
            door.url.replace("http", "ws", 1), subprotocols=[PROTOCOL], origin=Origin(origin), ssl=tls
        )
        try:
            async with socket as opened:
                await opened.send('{"op": "stop", "topic": "t", "user": "u", "ref": 1}')
                assert json.loads(await opened.recv()) == {"op": "ok", "ref": 1}
                return 101
        except InvalidStatus as error:
            return error.response.status_code

    assert asyncio.run(status(door.url)) == 101
    assert asyncio.run(status(f"{door.scheme}://localhost")) == 403
