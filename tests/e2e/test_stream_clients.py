"""Streams as real clients read them: EventSource and fetch in Chromium, npm eventsource, httpx-sse, curl."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx_sse
import pytest

from tests.conftest import StartCluster
from tests.e2e.browser import Browser
from tests.e2e.cluster import PATIENCE, ROOT, Cluster, Front, wait_for
from tests.e2e.keys import bearer, token, write_keys
from tests.e2e.test_metrics import tool
from tests.e2e.web_pages import serving_pages
from tests.support.npm import node_modules

HOW_TO = (ROOT / "docs" / "streams.md").read_text()
TEXTS = ["first", "second\nline", "\u2028 \u00e4 data: x\nid: 9", "", "last"]


def example(language: str, document: str = HOW_TO) -> str:
    found = re.search(rf"```{language}\n(.*?)```", document, re.DOTALL)
    assert found, language
    return found[1]


def unread(front: Front) -> str:
    return front.web.call("HEAD", "/news/alice").headers["Msg-Pending"]


def shown_across_a_kill(cluster: Cluster, browser: Browser, publish: Callable[[str], object]) -> Any:
    """Publish, kill the front of the page that is open, and publish by another connection. Return what is shown."""
    front = cluster.fronts[0]
    wait_for(lambda: front.web.call("HEAD", "/news/alice").status == 200, "the page subscribes")
    for text in TEXTS[:3]:
        publish(text)
    shown = "[...document.querySelectorAll('li')].map(each => each.textContent)"
    browser.until(f"{shown}.length == 3")
    wait_for(lambda: unread(front) == "0", "what was shown is acknowledged")
    cluster.kill_front(front)
    cluster.await_ready()
    web = cluster.fronts[0].client()
    for text in TEXTS[3:]:
        web.publish("news", text.encode())
    browser.until(f"{shown}.length == 5")
    return browser.run(shown)


@pytest.mark.slow
def test_the_page_of_the_how_to_shows_and_confirms_messages_of_a_listed_origin(
    start_cluster: StartCluster, folder: Path
) -> None:
    with serving_pages() as (origin, pages), Browser(folder) as browser:
        cluster: Cluster = start_cluster(brokers=1, fronts=1, front_settings={"cors_origins": origin})
        front = cluster.fronts[0]
        pages["/"] = example("html").replace("127.0.0.1:8100", f"127.0.0.1:{front.port}")
        browser.open(f"{origin}/")
        assert shown_across_a_kill(cluster, browser, lambda text: front.web.publish("news", text.encode())) == TEXTS


@pytest.mark.slow
def test_a_page_of_an_origin_that_is_not_listed_reads_nothing(start_cluster: StartCluster, folder: Path) -> None:
    with serving_pages() as (origin, pages), Browser(folder) as browser:
        settings = {"cors_origins": "https://app.example"}
        front: Front = start_cluster(brokers=1, fronts=1, front_settings=settings).fronts[0]
        front.web.subscribe("news", "alice")
        front.web.publish("news", b"precious")
        pages["/"] = "<!doctype html><title>other</title>"
        browser.open(f"{origin}/")
        browser.until("document.title == 'other'")
        mailbox = f"http://127.0.0.1:{front.port}/news/alice"
        stream = f"new EventSource('{mailbox}?confirm=0')"
        assert browser.run(f"new Promise(done => {{ {stream}.onerror = each => done(each.target.readyState); }})") == 2
        assert browser.run(f"fetch('{mailbox}?stream=ndjson').catch(error => error.name)") == "TypeError"
        assert unread(front) == "1"


@pytest.mark.slow
def test_the_function_of_the_how_to_streams_with_a_key(start_cluster: StartCluster, folder: Path) -> None:
    rules = '{rights = ["publish"], topic = "news"}, {rights = ["subscribe", "consume"], topic = "news", user = "*"}'
    keys = write_keys(folder / "keys.toml", {"page": f"allow = [{rules}]"})
    with serving_pages() as (origin, pages), Browser(folder) as browser:
        settings = {"cors_origins": origin, "api_keys_file": str(keys)}
        front: Front = start_cluster(brokers=1, fronts=1, front_settings=settings).fronts[0]
        assert front.web.call("POST", "/news/alice", headers=bearer("page")).status == 200
        for text in TEXTS:
            front.web.publish("news", text.encode(), bearer("page"))
        pages["/"] = f"<!doctype html><script>{example('js')}</script>"
        browser.open(f"{origin}/")
        browser.until("readStream")
        browser.run(
            f"globalThis.seen = []; void readStream('http://127.0.0.1:{front.port}/news/alice', '{token('page')}',"
            "  each => seen.push(each.text))"
        )
        browser.until("seen.length == 5")
        assert browser.run("seen") == TEXTS
        refused = f"readStream('http://127.0.0.1:{front.port}/news/alice', 'wrong', () => 0).then(each => each.status)"
        assert browser.run(refused) == 401


@pytest.fixture
def mailbox(front: Front) -> Iterator[str]:
    """The URL of a mailbox in which the texts wait."""
    topic = "clients-of-streams"
    front.web.subscribe(topic, "ann")
    for text in TEXTS:
        front.web.publish(topic, text.encode())
    yield f"http://127.0.0.1:{front.port}/{topic}/ann"
    front.web.unsubscribe(topic, "ann")


def test_httpx_sse_reads_a_stream(mailbox: str) -> None:
    with httpx.Client(timeout=PATIENCE) as http, httpx_sse.connect_sse(http, "GET", f"{mailbox}?confirm=client") as it:
        full = (event for event in it.iter_sse() if event.data)  # it tells of `retry:` as of an event, too
        events = [event for _, event in zip(TEXTS, full, strict=False)]
    assert [json.loads(event.data)["text"] for event in events] == TEXTS
    assert [event.id for event in events] == [json.loads(event.data)["id"] for event in events]


def test_curl_prints_each_message_at_once(mailbox: str) -> None:
    argv = [tool("curl"), "-sN", f"{mailbox}?stream=ndjson"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as curl:
        assert curl.stdout is not None
        lines = (line for line in curl.stdout if line != b"\n")
        assert [json.loads(line)["text"] for _, line in zip(TEXTS, lines, strict=False)] == TEXTS
        curl.kill()


def test_npm_eventsource_reads_a_stream(mailbox: str) -> None:
    tool("npm")
    script = f"""
        import {{ EventSource }} from "eventsource";
        const stream = new EventSource("{mailbox}?confirm=client&data=text"), seen = [];
        stream.onmessage = event => {{
          if (seen.push(event.data) == {len(TEXTS)}) {{ console.log(JSON.stringify(seen)); stream.close(); }}
        }};
    """
    argv = [tool("node"), "--input-type=module", "-e", script]
    done = subprocess.run(argv, cwd=node_modules().parent, capture_output=True, timeout=PATIENCE, check=True)
    assert json.loads(done.stdout) == TEXTS
