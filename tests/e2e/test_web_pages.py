"""Pages of other origins in a real browser: they change nothing and take nothing."""

from __future__ import annotations

import http.server
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StartCluster
from tests.e2e.browser import Browser
from tests.e2e.cluster import Client, Front, wait_for

pytestmark = pytest.mark.slow

EVIL = "evil.example"
REBOUND = [f"--host-resolver-rules=MAP {EVIL} 127.0.0.1"]
WAYS = """
    const until = (thing, ...events) => new Promise(done => events.forEach(each => thing.addEventListener(each, done)));
    const put = (tag, attributes) => {
      const element = Object.assign(document.createElement(tag), attributes);
      document.body.append(element);
      return until(element, "load", "error");
    };
    const form = (method, action) => {
      const frame = put("iframe", {name: method});
      const element = Object.assign(document.createElement("form"), {method, action, target: method});
      document.body.append(element);
      element.submit();
      return frame;
    };
    const ways = {
      img: at => put("img", {src: at + "/news/alice"}),
      frame: at => put("iframe", {src: at + "/news/alice"}),
      script: at => put("script", {src: at + "/news/alice?max=9"}),
      prefetch: at => put("link", {rel: "prefetch", href: at + "/news/alice"}),
      get: at => form("get", at + "/news/alice"),
      post: at => form("post", at + "/news"),
      publish: at => fetch(at + "/news", {method: "POST", mode: "no-cors", body: "forged"}).catch(() => 0),
      subscribe: at => fetch(at + "/stolen/mallory", {method: "POST", mode: "no-cors"}).catch(() => 0),
      fetch: at => fetch(at + "/news/alice?lease=600", {mode: "no-cors"}).catch(() => 0),
      cors: at => fetch(at + "/news/alice").catch(() => 0),
      remove: at => fetch(at + "/news/alice", {method: "DELETE"}).catch(() => 0),
      pause: at => fetch(at + "/-/v1/brokers/b0/pause", {method: "PUT"}).catch(() => 0),
      beacon: async at => navigator.sendBeacon(at + "/news", "forged"),
      events: at => until(new EventSource(at + "/news/alice"), "error"),
      socket: at => until(new WebSocket(at.replace("http", "ws") + "/news/alice"), "error"),
    };
"""
"""What a page can send by itself. Each promise ends with a response, or when none will come."""
TRY = """
    const all = at => Promise.all(Object.values(ways).map(way => way(at))).then(() => document.title = "tried");
    void all("""
EVIL_PAGE = f"""<!doctype html><title>evil</title><body><script>{WAYS}{TRY} decodeURIComponent(location.hash.slice(1)));
</script>"""


@contextmanager
def evil_server() -> Iterator[int]:
    """Serve the page at every path. Yield the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(EVIL_PAGE.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def front(start_cluster: StartCluster) -> Front:
    front: Front = start_cluster(brokers=1, fronts=1).fronts[0]
    front.web.subscribe("news", "alice")
    front.web.publish("news", b"precious")
    return front


def state(front: Front) -> list[Any]:
    """Return everything that a page could have changed."""
    ops = Client(front.ops_port)
    names = ("topics", "topics/news/subscriptions", "topics/news/subscriptions/alice/messages", "brokers")
    answers = [ops.call("GET", f"/-/v1/{name}").body.split(b'"round_trip"')[0] for name in names]
    ops.close()
    looked = front.web.call("HEAD", "/news/alice").headers
    ages = [answer.partition(b"oldest_age")[0] for answer in answers]
    return [*ages, looked["Msg-Pending"], looked["Msg-Leased"], looked["Msg-Id"]]


def statuses(front: Front) -> Counter[int]:
    """Return the statuses in the access log so far."""
    return Counter(each["status"] for each in front.process.events() if each["event"] == "request")


@pytest.mark.parametrize("page_host", [EVIL, "127.0.0.1"], ids=["another site", "another port of this host"])
def test_pages_of_other_origins_change_and_take_nothing(front: Front, folder: Path, page_host: str) -> None:
    before = state(front)
    with evil_server() as port, Browser(folder, flags=REBOUND) as browser:
        for target in (front.port, front.ops_port):
            browser.open("about:blank")
            browser.open(f"http://{page_host}:{port}/#http%3A%2F%2F127.0.0.1%3A{target}")
            browser.until("document.title == 'tried'")
    tries = 2 * WAYS.count("at =>")
    wait_for(lambda: statuses(front)[403] >= tries, f"{tries} refusals: {statuses(front)}")
    assert state(front) == before
    assert front.web.take("news", "alice").body == b"precious"


def test_a_rebound_name_reaches_nothing(front: Front, folder: Path) -> None:
    """Resolve the page's own name to this host, so that the page asks its own origin."""
    before = state(front)
    with Browser(folder, flags=REBOUND) as browser:
        for target in (front.port, front.ops_port):
            browser.open(f"http://{EVIL}:{target}/livez")
            browser.until("document.body.textContent.includes('live')")
            browser.run(f"{{{WAYS}{TRY} location.origin)}}")
            browser.until("document.title == 'tried'")
            for path in ("/news/alice", "/-/v1/topics", "/"):
                assert browser.run(f"fetch('{path}').then(answer => answer.status)") == 421
    assert state(front) == before
    assert front.web.take("news", "alice").body == b"precious"


def test_a_page_that_is_a_message_runs_no_script(front: Front, folder: Path) -> None:
    page = (
        b"<!doctype html><title>idle</title><p>shown</p><script>document.title = 'ran'; fetch('/news/alice')</script>"
    )
    front.web.subscribe("pages", "eve")
    front.web.publish("pages", page, {"Content-Type": "text/html"})
    with Browser(folder) as browser:
        browser.open(f"http://127.0.0.1:{front.port}/pages/eve")
        browser.until("document.body.textContent.includes('shown')")
        assert browser.run("document.title") == "idle"
        assert browser.run("origin") == "null"
    assert front.web.take("news", "alice").body == b"precious"
