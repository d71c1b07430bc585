"""The dashboard in a real browser."""

from __future__ import annotations

import html
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import StartCluster
from tests.e2e.cluster import Client, Cluster
from tests.e2e.moves import add_broker
from tests.e2e.test_metrics import tool

pytestmark = pytest.mark.slow


def browse(folder: Path, url: str, *more: str, size: str = "1200,1100") -> str:
    """Return the page that Chromium has after some polls, as it serialises it."""
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    flags += [f"--user-data-dir={folder}/profile", f"--window-size={size}", "--virtual-time-budget=9000", *more]
    argv = [tool("chromium"), *flags, url]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=90, check=True)
    assert "Refused to" not in done.stderr, done.stderr
    return done.stdout


def text(page: str, id_: str) -> str:
    """Return the text of an element."""
    found = re.search(rf'id="{id_}"[^>]*>(.*?)</(?:b|span|tbody)>', page, re.DOTALL)
    assert found, id_
    return html.unescape(re.sub(r"<[^>]+>", " ", found[1]))


def busy(start_cluster: StartCluster) -> Cluster:
    """Make slow readers, a dead letter, and a paused broker."""
    cluster = start_cluster(brokers=3, fronts=1)
    web = cluster.fronts[0].web
    evil = "%3Cimg%20src=x%20onerror=document.title='hacked'%3E"
    for topic, user in (("orders", "billing"), ("orders", "shipping"), ("orders", "fast"), ("news", evil), (evil, "u")):
        web.subscribe(topic, user)
    for _ in range(3):
        web.publish("orders", b"x" * 1000)
    web.drain("orders", "fast")
    web.publish("news", b"x")
    web.publish(evil, b"x")
    web.call("POST", "/mail/worker?max_deliveries=1")
    web.publish("mail", b"poison")
    receipt = web.call("GET", "/mail/worker?lease=30").headers["Msg-Receipt"]
    web.call("PATCH", f"/mail/worker/{receipt}?lease=0")
    ops = Client(cluster.fronts[0].ops_port)
    ops.call("PUT", "/-/v1/brokers/b2/pause")
    ops.close()
    return cluster


def test_the_page_is_one_file_that_lets_nothing_else_in(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1)
    ops = Client(cluster.fronts[0].ops_port)
    answer = ops.call("GET", "/")
    ops.close()
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert not re.findall(rb"""(?:src|href)=(?!"data:)|https?://|@import|url\(""", answer.body)
    assert cluster.fronts[0].web.call("GET", "/").headers["Content-Type"] == "application/json"


def test_a_browser_shows_how_the_cluster_stands(start_cluster: StartCluster, folder: Path) -> None:
    cluster = busy(start_cluster)
    page = browse(folder, f"http://127.0.0.1:{cluster.fronts[0].ops_port}/", "--dump-dom")
    assert text(page, "up") == "3 of 3"
    assert text(page, "stored") == "5"
    assert text(page, "dead") == "1"
    assert re.fullmatch(r"\d+ s", text(page, "oldest"))
    assert re.fullmatch(r"[\d.]+", text(page, "published")), "a rate, from the second poll on"
    assert text(page, "state").startswith("as of ")
    slowest = text(page, "slowest")
    assert "billing, shipping" in slowest
    assert "fast" not in slowest
    assert "onerror" in slowest
    assert "<title>Fanmail</title>" in page, "names are text and never run"
    assert text(page, "looked") == ""
    brokers = text(page, "brokers")
    assert re.search(r"b0\s+up", brokers)
    assert re.search(r"b2\s+paused", brokers)


def test_a_broker_that_is_down_is_seen(start_cluster: StartCluster, folder: Path) -> None:
    cluster = start_cluster(brokers=2, fronts=1)
    cluster.brokers["b1"].kill()
    page = browse(folder, f"http://127.0.0.1:{cluster.fronts[0].ops_port}/", "--dump-dom")
    assert text(page, "up") == "1 of 2"
    assert re.search(r"b1\s+down", text(page, "brokers"))
    assert text(page, "slowest").strip() == "all messages of the other brokers have been read"
    assert (text(page, "looked"), text(page, "stored")) == ("1 broker not counted", "≥ 0")


def test_a_picture_of_it_can_be_made_in_a_window_as_wide_as_a_phone(start_cluster: StartCluster, folder: Path) -> None:
    cluster = busy(start_cluster)
    shot = folder / "phone.png"
    browse(folder, f"http://127.0.0.1:{cluster.fronts[0].ops_port}/", f"--screenshot={shot}", size="500,1400")
    assert shot.read_bytes().startswith(b"\x89PNG")


def test_the_page_says_what_would_move(start_cluster: StartCluster, tmp_path: Path) -> None:
    cluster = start_cluster(brokers=1, fronts=1, durable=True)
    add_broker(cluster, 2, epoch=2)
    page = browse(tmp_path, f"http://127.0.0.1:{cluster.fronts[0].ops_port}/", "--dump-dom")
    assert re.search(r"(\d+) would move: \1 from b0 to b1", text(page, "plan"))
    assert '<section id="slots">' in page
