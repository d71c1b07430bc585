"""The dashboard of a front that requires keys, in a real browser."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.conftest import StartCluster
from tests.e2e.browser import Browser
from tests.e2e.cluster import Client, Front, wait_for
from tests.e2e.keys import bearer, token, write_keys

pytestmark = pytest.mark.slow

KEYS = {
    "root": 'allow = [{rights = ["admin"]}]',
    "user": """allow = [
      {rights = ["publish"], topic = "*"}, {rights = ["subscribe"], topic = "*", user = "*"}]""",
}
ASKS = "!document.querySelector('#ask').hidden"
SHOWS = "document.querySelector('#ask').hidden && document.querySelector('#up').textContent === '1 of 1'"


@pytest.fixture
def front(start_cluster: StartCluster, folder: Path) -> Front:
    path = write_keys(folder / "keys.toml", KEYS)
    front: Front = start_cluster(brokers=1, fronts=1, front_settings={"api_keys_file": path}).fronts[0]
    assert front.web.call("POST", "/orders/billing", headers=bearer("user")).status == 200
    assert front.web.call("POST", "/orders", b"x", bearer("user")).status == 200
    return front


def give(browser: Browser, key: str) -> None:
    browser.press("#key")
    browser.type(key)
    browser.press("form button")


def why(browser: Browser) -> str:
    return str(browser.run("document.querySelector('#why').textContent"))


def picture(browser: Browser, name: str) -> None:
    """Save a picture for humans if the variable names a folder."""
    if "PICTURES" in os.environ:
        browser.picture(Path(os.environ["PICTURES"]) / f"{name}.png")


def test_the_page_itself_has_no_data_and_needs_no_key(front: Front) -> None:
    client = Client(front.ops_port)
    answer = client.call("GET", "/")
    client.close()
    assert answer.status == 200
    assert b"orders" not in answer.body
    assert b"b0" not in answer.body


def test_the_page_asks_for_a_key_keeps_it_and_forgets_it(front: Front, folder: Path) -> None:
    with Browser(folder) as browser:
        url = f"http://127.0.0.1:{front.ops_port}/"
        browser.open(url)
        browser.until(ASKS)
        assert browser.run("document.querySelector('#shown').hidden")
        picture(browser, "asks")
        give(browser, token("root", "t"))
        browser.until("document.querySelector('#why').textContent.includes('unknown')")
        give(browser, token("user"))
        browser.until("document.querySelector('#why').textContent.includes('does not have the right')")
        picture(browser, "refused")
        give(browser, f"  {token('root')} ")
        browser.until(SHOWS)
        browser.until("document.querySelector('#slowest').textContent.includes('billing')")
        picture(browser, "shows")
        assert browser.run("document.querySelector('#key').value") == ""
        browser.open(url)
        browser.until(SHOWS)
        assert browser.run("sessionStorage.length") == 1
        assert browser.run("localStorage.length + document.cookie.length") == 0
        assert token("root") not in browser.run("document.documentElement.outerHTML + location.href")
        browser.until("!document.querySelector('#forget').hidden")
        browser.press("#forget")
        browser.until(ASKS)
        assert browser.run("sessionStorage.length") == 0
        assert "billing" not in browser.run("document.body.innerText")
        assert browser.run("document.querySelector('#forget').hidden")
    for secret in (token("root"), token("root", "t"), token("user")):
        assert secret not in front.process.log()


def test_a_key_that_is_taken_away_is_asked_for_again(front: Front, folder: Path) -> None:
    with Browser(folder) as browser:
        browser.open(f"http://127.0.0.1:{front.ops_port}/")
        browser.until(ASKS)
        give(browser, token("root"))
        browser.until(SHOWS)
        write_keys(folder / "keys.toml", {"root-2": KEYS["root"]})
        front.process.signal(signal.SIGHUP)
        wait_for(lambda: front.process.event("API keys read again"), "the reload")
        browser.until(ASKS)
        assert why(browser) == "This key is unknown, expired or revoked."
        give(browser, token("root-2"))
        browser.until(SHOWS)


def test_a_front_without_keys_asks_for_none(start_cluster: StartCluster, folder: Path) -> None:
    front: Front = start_cluster(brokers=1, fronts=1).fronts[0]
    with Browser(folder) as browser:
        browser.open(f"http://127.0.0.1:{front.ops_port}/")
        browser.until(SHOWS)
        assert browser.run("document.querySelector('#forget').hidden")
