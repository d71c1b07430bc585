"""Every command of the documents, run in order, as by a user with one terminal in a fresh checkout.

A command must end with exit code 0, and curl with a 2xx status, unless the comment after it begins with another status
("# 404: ...") or with "exit code N". What cannot be run is in `UNRUN`, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import wait_for
from tests.support.documents import Block, Command, blocks, commands, documents
from tests.support.shell import Done, Session, python_command

pytestmark = pytest.mark.slow

PATTERNS = ("README.md", "docs/*.md", "client/*.md", "deploy/**/*.md")
DOCUMENTS = [each for each in documents(*PATTERNS) if {block.language for block in blocks(each)} & {"sh", "python"}]

PYTHON_ELSEWHERE = {"client/README.md"}
"""Documents whose Python blocks continue each other: see tests/client/test_examples.py."""

HOSTS = "it needs several hosts; tests/e2e/test_hosts.py has them"
ENDLESS = "it runs until it is stopped; tests/client/forward does it"
UNRUN = {
    "client/README.md": {"pip install ./client": "it needs a package index; tests/client/test_package.py does it"},
    "docs/howto-webhooks.md": {
        "fanmail forward events shop https://shop.example/hooks --secrets-file shop.secrets": ENDLESS,
        "fanmail forward --config /etc/fanmail/forwards.toml --metrics-port 9300": ENDLESS,
    },
    "docs/operations.md": {
        "bin/start-brokers --config cluster.toml --curve-dir /etc/fanmail/keys --ids b0": HOSTS,
        "bin/start-fronts 4 --config cluster.toml --curve-dir /etc/fanmail/keys": HOSTS,
        "bin/backup /backups/monday --config cluster.toml --curve-dir /etc/fanmail/keys --ids b0": HOSTS,
    },
    "docs/replication.md": {
        "bin/replica init --config cluster.toml --nats-credentials operator.toml": HOSTS,
        "bin/replica doctor --config cluster.toml --nats-credentials operator.toml "
        "--monitor http://127.0.0.1:8222": HOSTS,
        "bin/start-brokers --config cluster.toml --curve-dir /etc/fanmail/keys --candidate h1": HOSTS,
        "bin/start-fronts 4 --config cluster.toml --curve-dir /etc/fanmail/keys": HOSTS,
        "bin/replica status --config cluster.toml": HOSTS,
    },
}
"""Exact commands that are not run, by document, and why: they need root, systemd, another host and the like."""

INSTEAD = {
    "README.md": {
        "bin/test": "bin/test --help",  # it is what runs this
        "bin/test --all": "bin/test --help",
        "bin/soak 600 --durable": "bin/soak --help",  # tests/e2e/test_soak.py runs it for 30 s
        "bin/soak 600 --replicated": "bin/soak --help",
        "bin/quickstart": "bin/quickstart --help",  # docs/tutorial.md runs it
        "bin/quickstart --durable": "bin/quickstart --durable --brokers 1",
        "bin/quickstart --replicated": "bin/quickstart --help",  # docs/replication.md runs it
        "bin/start-brokers 4 &": "bin/start-brokers 1 &",
        "bin/start-fronts 4 --port 8100 &": "bin/start-fronts 1 --port 8100 &",
        "bin/start-brokers 4 --store sqlite --data /var/lib/fanmail": (
            "bin/start-brokers 2 --store sqlite --data /var/lib/fanmail"
        ),
        "fanmail top": "fanmail top -n 1",
    },
    "docs/moves.md": {  # a third of the slots is moved by tests/e2e/test_moves.py
        "bin/rebalance run --rate 50M": "bin/rebalance run --rate 50M --slots 0-40 --to b2",
        "bin/start-fronts 2 &": "bin/start-fronts 1 &",
    },
    "docs/operations.md": {
        "bin/start-brokers 2 &": "bin/start-brokers 1 &",
        "bin/start-fronts 2 --api-keys-file api-keys.toml &": "bin/start-fronts 1 --api-keys-file api-keys.toml &",
        "bin/start-fronts 2 --allowed-hosts mail.example &": "bin/start-fronts 1 --allowed-hosts mail.example &",
    },
    "docs/replication.md": {
        "bin/quickstart --replicated": "bin/quickstart --replicated --brokers 2 --fronts 1",
    },
    "docs/tutorial.md": {
        "bin/quickstart": "bin/quickstart --brokers 2",
    },
}
"""Exact commands, by document, that take too long, and what is run in their place."""

RUNNING = ["bin/quickstart --brokers 2 --fronts 1"]
BEFORE: dict[str, list[str]] = {
    "README.md": [],
    "deploy/README.md": [],
    "docs/commands.md": [],
    "docs/howto-browser.md": [],
    "docs/moves.md": [],
    "docs/security.md": [],
    "docs/tutorial.md": [],
    "docs/replication.md": [],
    "docs/operations.md": [*RUNNING, "curl -X POST http://127.0.0.1:8100/orders/billing"],
}
"""What a document's reader has done already; `RUNNING` for those not named here."""


@pytest.fixture
def session(folder: Path) -> Iterator[Session]:
    session = Session(folder)
    yield session
    session.close()


def steps(document: str) -> Iterator[Block | Command]:
    """Yield what is to be run, in order: commands and blocks of Python."""
    for block in blocks(document):
        if block.language == "sh":
            yield from commands(block)
        elif block.language == "python" and document not in PYTHON_ELSEWHERE:
            yield block


def expected(comment: str) -> tuple[int, int | None]:
    """Return the exit code and the status that a comment promises. None: any 2xx."""
    promise = re.match(r"(?:exit code (?P<code>\d+)|(?P<status>[2-5]\d\d))\b", comment)
    if not promise:
        return 0, None
    return int(promise["code"] or 0), int(promise["status"]) if promise["status"] else None


def check(where: str, text: str, comment: str, done: Done) -> None:
    code, status = expected(comment)
    told = f"{where}: {text}\n{done.output}"
    assert done.code == code, f"exit code {done.code}, not {code}: {told}"
    if status:
        assert done.status == status, f"status {done.status}, not {status}: {told}"
    elif done.status:
        assert 200 <= done.status < 300, f"status {done.status}: {told}"


def run_step(session: Session, step: Block | Command) -> None:
    if isinstance(step, Block):
        script = session.folder / f"{Path(step.document).name}.{step.line}.py"
        text = python_command(session.localised(step.text), step.line, script)
        comment, group = "", step
    else:
        if step.text in UNRUN.get(step.block.document, {}):
            return
        text = INSTEAD.get(step.block.document, {}).get(step.text, step.text)
        comment, group = step.comment, step.block
    try:
        done = session.run(text, group)
    except AssertionError as error:
        raise AssertionError(f"{step.where}: {text}\n{error}") from None
    check(step.where, text, comment, done)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_does_what_it_says(session: Session, document: str) -> None:
    todo = list(steps(document))
    for text in BEFORE.get(document, RUNNING):
        check("before", text, "", session.run(text))
    for step in todo:
        run_step(session, step)
    session.stop_all()


def test_the_lists_of_exceptions_name_commands_that_are_there() -> None:
    for exceptions in (UNRUN, INSTEAD):
        for document, entries in exceptions.items():
            there = {step.text for step in steps(document) if isinstance(step, Command)}
            gone = set(entries) - there
            assert not gone, f"{document} does not have this any more"
    assert set(BEFORE) <= set(DOCUMENTS)


def test_the_tour_that_quickstart_prints(session: Session) -> None:
    session.run("bin/quickstart --brokers 1 --fronts 2")
    printed = session.servers[-1].log  # the thread that writes may lag behind the message that all are ready
    wait_for(lambda: printed.read_text().count("\n  curl ") >= 9, "the tour")
    tour = re.findall(r"^  (curl .*)$", printed.read_text(), re.MULTILINE)
    statuses = []
    for text in tour:
        done = session.run(text)
        assert done.code == 0, (text, done)
        statuses.append(done.status)
    assert statuses == [200, 200, 200, 200, 204, 200, 200, 200, 404]
    session.stop_all()
    assert any("Fanmail is stopped." in path.read_text() for path in session.folder.glob("*.out"))


@pytest.mark.timeout(300)
def test_the_second_tour_kills_an_owner_and_a_server_and_loses_nothing(session: Session) -> None:
    session.run("bin/quickstart --replicated --brokers 1 --fronts 2")
    printed = session.servers[-1].log
    wait_for(lambda: "bin/replica status" in printed.read_text(), "the second tour")
    text = printed.read_text().partition("Every topic has a second copy.")[2]
    block = "\n".join(line.removeprefix("  ") for line in text.splitlines() if line.startswith("  "))
    todo = [each.text.replace("300", "60") for each in commands(Block("tour", 1, "sh", block[block.index("# ann") :]))]
    subscribe, publish, kill_broker, kill_nats, count, status = todo
    assert session.run(subscribe).status == 200
    session.run(publish)
    assert session.run(kill_broker).code == session.run(kill_nats).code == 0
    assert session.run(count).output.split() == ["60"]
    assert session.run(status).code == 0
    session.stop_all()


def test_a_document_that_is_wrong_is_found_out(session: Session) -> None:
    """Test the tests: a failure names the place and shows the output."""
    wrong = "bin/quickstart --brokers 1\ncurl -i http://127.0.0.1:8100/nothing/nobody   # 200: or so it says\n"
    found = list(commands(Block("lies.md", 7, "sh", wrong)))
    run_step(session, found[0])
    with pytest.raises(AssertionError, match=r"status 404, not 200: lies\.md:8: curl -i .*(.|\n)*no-subscription"):
        run_step(session, found[1])
    for text, why in (
        ("false   # 1 is no status", "exit code 1"),
        ("bin/quickstart --brokers many", "is not a number"),
    ):
        with pytest.raises(AssertionError, match=r"lies\.md:7: ") as raised:
            run_step(session, next(commands(Block("lies.md", 7, "sh", text + "\n"))))
        assert why in str(raised.value)
