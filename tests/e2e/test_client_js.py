"""The JavaScript client as its users get it: the package, its tests, and its examples in Node.js and Chromium."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from common.version import VERSION
from tests.conftest import StartCluster
from tests.e2e.browser import Browser
from tests.e2e.cluster import PATIENCE, ROOT, Cluster, Front, clean_environ
from tests.e2e.test_metrics import tool
from tests.e2e.web_pages import serving_pages
from tests.support.documents import blocks, documents
from tests.support.npm import CLIENT, node_18, packed_client, run

DOCUMENTS = documents("*.md", "docs/*.md", "client-js/*.md")
FRONT = "http://127.0.0.1:8100"
"""The base URL of the examples."""
PRINTED = {
    "client-js/README.md": [
        *("hello, world", "one", "two", "three", "first", "second", "bye"),
        *('{"dig":"deeper"} false', '{"done":1,"failed":0,"lost":0}', "dig", "404 no-subscription", "TimeoutError"),
    ],
    "README.md": ["disk full"],
    "docs/howto-browser.md": ["your order is on its way"],
}
"""What each line must contain that the examples of a document log, in this order."""
IMPORTS = '<script type="importmap">{"imports": {"fanmail": "/node_modules/fanmail/dist/index.js"}}</script>'


class Page(NamedTuple):
    """A browser, the origin whose pages it shows, these pages by path, and a cluster that lists the origin."""

    browser: Browser
    origin: str
    pages: dict[str, str]
    cluster: Cluster

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.cluster.fronts[0].port}"


@pytest.fixture(scope="module")
def packed() -> Path:
    tool("npm")
    return packed_client()


@pytest.fixture(params=[pytest.param("18", marks=pytest.mark.slow), "newer"])
def node(request: pytest.FixtureRequest) -> str:
    return tool("node") if request.param == "newer" else node_18()


@pytest.fixture
def page(packed: Path, start_cluster: StartCluster, folder: Path) -> Iterator[Page]:
    with serving_pages(packed, CLIENT, ROOT / "examples" / "chat") as (origin, pages), Browser(folder) as browser:
        yield Page(browser, origin, pages, start_cluster(brokers=1, fronts=1, front_settings={"cors_origins": origin}))


def environ(url: str) -> dict[str, str]:
    return clean_environ() | {"FANMAIL_URL": url}


def test_the_package_holds_the_built_client_and_nothing_else(packed: Path) -> None:
    with tarfile.open(packed / f"fanmail-{VERSION}.tgz") as archive:
        names = {name.removeprefix("package/") for name in archive.getnames()}
    sources = [path.relative_to(CLIENT / "src").with_suffix("") for path in (CLIENT / "src").rglob("*.ts")]
    built = {f"dist/{path}{end}" for path in sources for end in (".js", ".d.ts")}
    assert names == built | {"LICENSE", "README.md", "package.json"}
    assert (CLIENT / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    described = json.loads((packed / "node_modules" / "fanmail" / "package.json").read_text())
    assert described["version"] == json.loads((CLIENT / "package-lock.json").read_text())["version"] == VERSION
    assert "dependencies" not in described


def test_its_sources_stay_short_enough_to_be_seen_whole() -> None:
    sources = [*CLIENT.glob("src/**/*.ts"), *CLIENT.glob("test/*.js"), ROOT / "examples" / "chat" / "index.html"]
    lines = {path.name: path.read_text(encoding="utf-8").splitlines() for path in sources}
    assert len(lines) > 25
    assert [name for name, each in lines.items() if max(map(len, each)) > 120] == []
    assert [name for name, each in lines.items() if len(each) > (150 if name == "index.html" else 300)] == []


def test_its_own_tests(packed: Path, node: str) -> None:
    tests = sorted(str(path) for path in (CLIENT / "test").glob("*.test.js"))
    assert len(tests) >= 2
    run(node, "--test", *tests, cwd=CLIENT)


def test_the_main_transcripts_of_the_api(packed: Path, node: str, cluster: Cluster) -> None:
    urls = ",".join(f"http://127.0.0.1:{front.port}" for front in cluster.fronts)
    run(
        node, "test/run-transcripts.js", f"js-{'18' if 'linux' in node else 'newer'}", cwd=CLIENT, environ=environ(urls)
    )


@pytest.mark.slow
def test_the_main_transcripts_of_the_api_in_a_browser(page: Page) -> None:
    page.pages["/"] = f"<!doctype html>{IMPORTS}"
    page.browser.open(f"{page.origin}/")
    page.browser.until("document.querySelector('script')")
    failures = page.browser.run(
        "Promise.all(['fanmail', '/test/transcripts.js', '/test/session-transcripts.js'].map(each => import(each)))"
        "  .then(async ([fanmail, {runAll}, {runSessions}]) => {"
        f"    const client = new fanmail.Client('{page.url}', {{warn: () => undefined}});"
        "    const failures = await runAll(client, fanmail, 'browser');"
        "    return {...failures, ...await runSessions(client, fanmail, 'browser')}; })"
    )
    assert failures == {}


def examples(document: str, url: str) -> str:
    """Return the examples of a document as one module, which calls `print` with lines of text."""
    texts = [block.text for block in blocks(document) if block.language == "javascript"]
    log = "const text = each => typeof each === 'object' ? JSON.stringify(each) : String(each);\n"
    log += "const log = (...values) => print(values.map(text).join(' '));\n"
    return log + "\n".join(texts).replace("console.log(", "log(").replace(FRONT, url)


def prepare(front: Front) -> None:
    """Do what the commands before an example do."""
    front.web.subscribe("to.alice", "tab-1")
    front.web.publish("to.alice", b"your order is on its way")


def check(document: str, printed: list[str]) -> None:
    expected = PRINTED[document]
    assert [part for line, part in zip(printed, expected, strict=True) if part in line] == expected, printed


def test_the_documents_with_examples_are_known() -> None:
    found = {each for each in DOCUMENTS for block in blocks(each) if ' from "fanmail"' in block.text}
    assert found == set(PRINTED)


def install(packed: Path, folder: Path) -> None:
    """Install the package, and what its examples use beside it."""
    shutil.copytree(packed / "node_modules", folder / "node_modules")
    shutil.copytree(CLIENT / "node_modules" / "ws", folder / "node_modules" / "ws")


@pytest.mark.slow
def test_the_examples_agree_with_the_types_that_are_shipped(packed: Path, folder: Path) -> None:
    install(packed, folder)
    for number, document in enumerate(PRINTED):
        print_text = "/** @param {string} line */ const print = line => console.info(line);\n"
        (folder / f"example-{number}.mjs").write_text(print_text + examples(document, FRONT))
    (folder / "ws.d.ts").write_text('declare module "ws" { export const WebSocket: typeof globalThis.WebSocket; }')
    options = {"module": "NodeNext", "lib": ["ES2022", "DOM"], "types": [], "allowJs": True, "checkJs": True}
    options |= {"noEmit": True, "strict": True, "useUnknownInCatchVariables": False, "noImplicitAny": False}
    (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "include": ["*.mjs", "*.ts"]}))
    tsc = str(CLIENT / "node_modules" / ".bin" / "tsc")
    run(tsc, "--project", str(folder), cwd=folder)
    (folder / "wrong.mjs").write_text('import { Client } from "fanmail";\nnew Client().publish("news", 7);\n')
    with pytest.raises(AssertionError, match=r"wrong\.mjs.*is not assignable"):
        run(tsc, "--project", str(folder), cwd=folder)


def test_the_examples(packed: Path, node: str, start_cluster: StartCluster, folder: Path) -> None:
    front = start_cluster(brokers=1, fronts=1).fronts[0]
    install(packed, folder)
    prepare(front)
    for document in PRINTED:
        script = folder / "examples.mjs"
        script.write_text(
            "const print = line => console.log(line);\n" + examples(document, f"http://127.0.0.1:{front.port}")
        )
        check(document, run(node, str(script), cwd=folder).splitlines())


@pytest.mark.slow
def test_the_examples_in_a_browser(page: Page) -> None:
    begin = "globalThis.printed = []; const print = line => printed.push(line);\n"
    prepare(page.cluster.fronts[0])
    for document in PRINTED:
        script = begin + examples(document, page.url) + f"\nglobalThis.done = '{document}';"
        page.pages["/"] = f'<!doctype html>{IMPORTS}<script type="module">{script}</script>'
        page.browser.open(f"{page.origin}/")
        page.browser.until(f"done == '{document}'")
        check(document, page.browser.run("printed"))


@pytest.mark.slow
def test_the_chat_sends_shows_and_comes_back(page: Page) -> None:
    web = page.cluster.fronts[0].client()
    web.subscribe("chat.lobby", "bob")
    browser = page.browser
    browser.open(f"{page.origin}/index.html")
    browser.until("!door.querySelector('button').disabled")
    browser.run(f"door.elements.name.value = 'Ann'; door.elements.url.value = '{page.url}'; door.requestSubmit()")
    browser.until("state.textContent == 'connected' && !editor.hidden")
    say = "editor.elements.text.value = '%s'; editor.requestSubmit()"
    browser.run(say % "hello")
    sent = json.loads(web.call("GET", "/chat.lobby/bob?wait=20").body)
    assert (sent["name"], sent["text"]) == ("Ann", "hello")
    web.publish("chat.lobby", json.dumps({"name": "Bob", "text": "<b>text</b>"}).encode())
    web.publish("chat.lobby", b"\xff")
    page.cluster.kill_front(page.cluster.fronts[0])
    browser.run(say % "again")
    shown = "[...document.querySelectorAll('li')].map(each => each.lastChild.textContent)"
    browser.until(f"{shown}.length == 4 && !document.querySelector('.pending')")
    assert browser.run(shown) == ["hello", "<b>text</b>", "1 bytes", "again"]
    assert browser.run("[...document.querySelectorAll('li.own')].length") == 2


def test_a_session_reads_on_when_the_broker_was_away(packed: Path, start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1, durable=True)
    argv = [tool("node"), "test/run-outage.js", "outage", "200"]
    env = environ(f"http://127.0.0.1:{cluster.fronts[0].port}")
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, cwd=CLIENT, env=env, stdin=pipe, stdout=pipe, text=True) as script:
        assert script.stdin is not None
        assert script.stdout is not None
        assert script.stdout.readline() == "kill\n"
        cluster.brokers["b0"].kill()
        script.stdin.write("go on\n")
        script.stdin.flush()
        assert script.stdout.readline() == "start\n"
        cluster.start_broker("b0")
        assert json.loads(script.stdout.readline()) == [str(number) for number in range(200)]
        assert script.wait(PATIENCE) == 0


@pytest.mark.slow
def test_killed_fronts_lose_nothing_and_reorder_nothing(packed: Path, start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=2)
    urls = ",".join(f"http://127.0.0.1:{front.port}" for front in cluster.fronts)
    argv = [tool("node"), "test/run-faults.js", "faults", "200"]
    with subprocess.Popen(argv, cwd=CLIENT, env=environ(urls), stdout=subprocess.PIPE, text=True) as script:
        assert script.stdout is not None
        for front in cluster.fronts:
            assert script.stdout.readline() == "kill\n"
            cluster.kill_front(front)
            cluster.await_ready()
        found = json.loads(script.stdout.readline())
        assert script.wait(PATIENCE) == 0
    seen = found["seen"]
    assert {reader: sorted(numbers) for reader, numbers in seen.items()} == {each: list(range(200)) for each in seen}
    assert len(seen) == 4
    assert seen["stream"] == seen["session"] == seen["messages"], "not in the order of the log"
