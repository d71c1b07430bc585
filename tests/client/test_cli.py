"""The `fanmail` command with a running cluster: its output and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import click
import pytest

from fanmail import Client
from fanmail.cli.completion import complete_topic
from fanmail.cli.main import command
from fanmail.cli.output import print_json
from tests.client.commands import Run, lines, start
from tests.client.conftest import urls_of
from tests.client.proxy import EMPTY, REFUSE, SWALLOW, Proxy, first
from tests.conftest import StartCluster
from tests.e2e.cluster import ROOT, Cluster, clean_environ, wait_for


def test_subscribe_and_unsubscribe(run: Run, topic: str) -> None:
    assert run("subscribe", topic, "ann").stdout == "subscribed\n"
    assert lines(run("subscribe", topic, "ann", "--max-deliveries", "2", "--json"))[0]["created"] is False
    assert run("unsubscribe", topic, "ann").stdout == ""
    assert "no-subscription" in run("unsubscribe", topic, "ann", code=4).stderr


def test_publish_an_argument_standard_input_and_a_file(run: Run, topic: str, client: Client, tmp_path: Path) -> None:
    client.subscribe(topic, "ann")
    path = tmp_path / "body"
    path.write_bytes(b"\xff\n")
    assert run("publish", topic, "argument", "--type", "text/plain", "-H", "Meta-A: b").stdout.endswith("-1\n")
    run("publish", topic, stdin=b"input\n")
    run("publish", topic, "--file", str(path))
    run("publish", topic, "--file", "-", stdin="dash")
    found = list(client.fetch(topic, "ann"))
    assert [each.body for each in found] == [b"argument", b"input\n", b"\xff\n", b"dash"]
    assert (found[0].type, found[0].headers) == ("text/plain", {"meta-a": "b"})


def test_headers_are_any_text(run: Run, topic: str, client: Client) -> None:
    client.subscribe(topic, "ann")
    for value in ("voilà 日本", b"caf\xe9".decode("utf-8", "surrogateescape")):  # the latter: an argument in latin-1
        run("publish", topic, "x", "-H", f"Meta-A: {value}")
    found = [lines(run("read", topic, "ann", "--json"))[0]["meta"] for _ in range(2)]
    assert found == [{"meta-a": "voilà 日本"}, {"meta-a": "café"}]


def test_json_of_any_text_is_json(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    print_json({"a": "ü\udce9"})
    assert json.loads(capfdbinary.readouterr().out) == {"a": "ü\udce9"}


def test_publish_says_what_became_of_it(run: Run, topic: str, client: Client) -> None:
    assert run("publish", topic, "x").stdout == "no subscribers: dropped\n"
    client.subscribe(topic, "ann")
    assert run("publish", topic, "x", "--delay", "3600").stdout.startswith("due 20")
    run("publish", topic, "x", "--key", "k")
    assert lines(run("publish", topic, "x", "--key", "k", "--json"))[0]["replayed"] is True


def test_publish_lines(run: Run, topic: str, client: Client, tmp_path: Path) -> None:
    client.subscribe(topic, "ann")
    path = tmp_path / "lines"
    path.write_text("".join(f"{n}\n" for n in range(2500)) + "the end")
    assert lines(run("publish", topic, "--lines", "--file", str(path), "--json"))[0]["count"] == 2501
    run("publish", topic, "--lines", stdin="a\n\nb\n")
    bodies = [each.text for each in client.messages(topic, "ann", batch=1000, until_empty=True)]
    assert bodies == [*map(str, range(2500)), "the end", "a", "", "b"]


def test_lines_that_come_slowly_are_not_held_up(urls: list[str], topic: str, client: Client) -> None:
    client.subscribe(topic, "ann")
    process = start(urls[0], "publish", topic, "--lines", stdin=subprocess.PIPE)
    assert process.stdin is not None
    for part, found in (("a\nb", "a"), ("c\n", "bc"), ("\nd", "")):
        process.stdin.write(part)
        process.stdin.flush()
        assert wait_for(lambda: client.receive(topic, "ann", wait=5)).text == found
    out, _ = process.communicate(timeout=30)
    assert out.startswith("4 published")
    assert client.receive(topic, "ann").text == "d"


def test_arguments_that_are_not_utf_8(urls: list[str], topic: str, client: Client) -> None:
    client.subscribe(topic, "ann")
    process = start(urls[0], "publish", topic, os.fsdecode(b"\xff"))
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert client.receive(topic, "ann").body == b"\xff"
    for arguments in (("publish", "\udcff", "x"), ("read", topic, "ann", "--after", "\udcff")):
        process = start(urls[0], *arguments)
        _, error = process.communicate(timeout=30)
        assert (process.returncode, "Traceback" in error) == (2, False)


def test_json_is_utf_8_in_every_locale(urls: list[str], topic: str, client: Client) -> None:
    client.subscribe(topic, "ann")
    client.publish(topic, "日本")
    process = start(urls[0], "read", topic, "ann", "--json", PYTHONIOENCODING="latin-1", PYTHONUTF8="0")
    out, error = process.communicate(timeout=30)
    assert (json.loads(out)["text"], error) == ("日本", "")


def test_keep_prints_more_than_a_batch_and_says_what_it_leaves_out(run: Run, topic: str, client: Client) -> None:
    client.subscribe(topic, "ann")
    client.publish_many(topic, ["x"] * 1500)
    assert len(run("read", topic, "ann", "--keep", "-n", "300").stdout.splitlines()) == 300
    kept = run("read", topic, "ann", "--keep", "--all")
    assert (len(kept.stdout.splitlines()), "500 more messages wait" in kept.stderr) == (1000, True)
    assert client.status(topic, "ann").pending == 1500


def test_wrong_use_is_2(run: Run, topic: str) -> None:
    run("publish", topic, "x", "--lines", code=2)
    run("publish", topic, "x", "-H", "nonsense", code=2)
    run("publish", topic, "x", "-H", "Colour: red", code=2)
    run("publish", topic, "x", url="ftp://nowhere", code=2)
    run("publish", "", "x", code=2)
    run("dead", topic, "ann", "--drop", "--put-back", code=2)
    run("verify", topic, code=2)
    run("nonsense", code=2)
    run("read", topic, "ann", "--after", "nonsense", code=2)


def test_read_acknowledges_what_it_has_printed(run: Run, topic: str, client: Client) -> None:
    run("read", topic, "ann", code=4)
    client.subscribe(topic, "ann")
    run("read", topic, "ann", code=3)
    client.publish_many(topic, [f"{n}" for n in range(300)])
    assert run("read", topic, "ann", "--keep").stdout == "0\n"
    assert run("read", topic, "ann").stdout == "0\n"
    assert run("read", topic, "ann", "-n", "2", "--take").stdout == "1\n2\n"
    assert [each["text"] for each in lines(run("read", topic, "ann", "-n", "2", "--json"))] == ["3", "4"]
    assert run("read", topic, "ann", "--all").stdout == "".join(f"{n}\n" for n in range(5, 300))
    run("read", topic, "ann", "--all", "--wait", "0.1", code=3)
    assert client.status(topic, "ann").pending == 0


def test_show_and_stats(run: Run, topic: str, client: Client) -> None:
    run("status", topic, "ann", code=4)
    client.subscribe(topic, "ann")
    client.subscribe(topic, "bob")
    stored = client.publish(topic, "x")
    table = run("status", topic, "ann", "bob").stdout.splitlines()
    assert table[0].split() == ["topic", "user", "pending", "leased", "dead", "next_id"]
    assert table[2].split() == [topic, "bob", "1", "0", "0", stored.id]
    row = {"topic": topic, "user": "ann", "pending": 1, "leased": 0, "dead": 0, "next_id": stored.id}
    assert lines(run("status", topic, "ann", "--json", "--within", "inf")) == [row]
    assert lines(run("stats", topic, "ann", "-n", "1", "--every", "0.01", "--json")) == [
        row | {"pending_per_second": 0.0}
    ]
    assert run("stats", topic, "ann", "-n", "1", "--every", "0.01").stdout.splitlines()[1].split()[0] == "1"


def test_work_acknowledges_by_the_exit_code(run: Run, topic: str, client: Client, tmp_path: Path) -> None:
    client.subscribe(topic, "crew", max_deliveries=2)
    client.publish_many(topic, ["good", "bad"])
    out = tmp_path / "out"
    script = f'body=$(cat); echo "$body $FANMAIL_MSG_ATTEMPT" >>{out}; test "$body" = good'
    worked = run("work", topic, "crew", "--delay", "0", "-n", "3", "--json", "--", "sh", "-c", script)
    assert lines(worked) == [{"done": 1, "failed": 2, "lost": 0}]
    assert out.read_text() == "good 1\nbad 1\nbad 2\n"
    assert lines(run("dead", topic, "crew", "--json"))[0]["text"] == "bad"
    assert "bad" in run("dead", topic, "crew").stdout
    assert run("dead", topic, "crew", "--put-back").stdout == "1\n"
    run("dead", topic, "crew", code=3)
    run("dead", topic, "crew", "--drop", code=3)
    assert run("work", topic, "crew", "--until-empty", "--", "true").exit_code == 0
    run("work", topic, "nobody", "--", "true", code=4)


def test_work_tells_its_command_in_utf_8(urls: list[str], topic: str, client: Client, tmp_path: Path) -> None:
    client.subscribe(topic, "crew")
    client.publish(topic, "x", type="text/plain;a=日本")
    out = tmp_path / "out"
    script = f'printf %s "$FANMAIL_MSG_TYPE" >{out}'
    no_utf_8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    process = start(urls[0], "work", topic, "crew", "-n", "1", "--", "sh", "-c", script, **no_utf_8)
    assert process.wait(30) == 0, process.communicate()
    assert out.read_text() == "text/plain;a=日本"


def test_work_leaves_messages_alone_where_there_is_no_such_command(run: Run, topic: str, client: Client) -> None:
    client.subscribe(topic, "crew")
    client.publish(topic, "x")
    assert "no-such-command" in run("work", topic, "crew", "--", "/no-such-command", code=127).stderr
    assert client.receive(topic, "crew", lease=30).attempt == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_work_gives_back_when_it_is_stopped(
    urls: list[str], topic: str, client: Client, number: signal.Signals, code: int
) -> None:
    client.subscribe(topic, "crew")
    client.publish(topic, "x")
    process = start(urls[0], "work", topic, "crew", "--", "sh", "-c", "echo began; exec sleep 60")
    assert process.stdout.readline() == "began\n"
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == code
    assert client.receive(topic, "crew", lease=30).attempt == 2


def test_work_that_ends_well_in_spite_of_a_signal_is_done(urls: list[str], topic: str, client: Client) -> None:
    client.subscribe(topic, "crew")
    client.publish_many(topic, ["a", "b"])
    script = "trap 'exit 0' TERM; echo began; while true; do sleep 0.05; done"
    process = start(urls[0], "work", topic, "crew", "--", "sh", "-c", script)
    assert process.stdout.readline() == "began\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert client.receive(topic, "crew").text == "b"


def test_work_that_waits_ends_at_once(urls: list[str], topic: str, client: Client, cluster: Cluster) -> None:
    client.subscribe(topic, "crew")
    process = start(urls[0], "work", topic, "crew", "--", "true")
    wait_for(cluster.waiters, "the long poll")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 143


def test_tail_prints_what_comes_until_it_is_stopped(urls: list[str], topic: str, client: Client) -> None:
    client.subscribe(topic, "ann")
    client.publish(topic, "a")
    process = start(urls[0], "tail", topic, "ann")
    assert process.stdout.readline() == "a\n"
    client.publish(topic, "b")
    assert process.stdout.readline() == "b\n"
    wait_for(lambda: client.status(topic, "ann").pending == 0, "the message to be done")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130


def test_tail_may_subscribe_and_end(run: Run, topic: str, client: Client) -> None:
    run("tail", topic, "ann", code=4)
    client.subscribe(topic, "ann")
    client.publish_many(topic, ["a", "b", "c"])
    assert [each["text"] for each in lines(run("tail", topic, "ann", "-s", "-n", "2", "--json"))] == ["a", "b"]
    assert client.receive(topic, "ann").text == "c"


def test_tail_of_several_topics_prints_each_message_once(run: Run, topic: str, client: Client) -> None:
    topics = [f"{topic}-{n}" for n in range(3)]
    for each in topics:
        client.subscribe(each, "ann")
        client.publish_many(each, [f"{each} {n}" for n in range(2)])
    shown = run("tail", *topics, topics[0], "ann", "-n", "6", "--format", "{topic}|{body}").stdout.splitlines()
    assert sorted(shown) == [f"{each}|{each} {n}" for each in topics for n in range(2)]
    assert [client.status(each, "ann").pending for each in topics] == [0, 0, 0]
    client.unsubscribe(topics[2], "ann")
    assert "no-subscription" in run("tail", *topics, "ann", code=4).stderr


def test_a_format_prints_what_it_names(run: Run, topic: str, client: Client) -> None:
    client.subscribe(topic, "ann")
    sent = client.publish(topic, b"\xff", type="x/y", headers={"Meta-A": "b"})
    text = r"{id}\t{type} {bytes:>3} {attempt} {headers} {user} {time:%Y} {{{body}}}"
    year = client.fetch(topic, "ann", after="0").messages[0].time.astimezone().year
    shown = run("read", topic, "ann", "--keep", "--format", text).stdout_bytes
    assert shown == f"{sent.id}\tx/y   1 1 meta-a=b ann {year} {{".encode() + b"\xff}\n"
    assert run("read", topic, "ann").stdout_bytes == b"\xff\n", "without a terminal only the body"


def test_publish_can_require_a_subscriber(run: Run, topic: str, client: Client) -> None:
    assert "nobody is subscribed" in run("publish", topic, "x", "--require-subscribers", code=4).stderr
    run("publish", topic, "--lines", "--require-subscribers", stdin="a\nb\n", code=4)
    client.subscribe(topic, "ann")
    run("pub", topic, "x", "--require-subscribers")
    run("publish", topic, "--lines", "--require-subscribers", stdin="a\n")
    run("publish", topic, "x", "--require-subscribers", "--delay", "1", code=2)


def test_names_of_topics_are_completed(run: Run, topic: str, client: Client, ops_urls: list[str]) -> None:
    client.subscribe(f"{topic}-long", "ann")
    context = click.Context(command)
    with patch.dict(os.environ, {"FANMAIL_OPS_URL": ops_urls[0]}):
        assert complete_topic(context, command.params[0], topic) == [f"{topic}-long"]
    with patch.dict(os.environ, {"FANMAIL_OPS_URL": "http://127.0.0.1:1"}):
        assert complete_topic(context, command.params[0], topic) == []


def test_verify_does_not_hurry_a_server_that_is_full_of_waiters(
    run: Run, topic: str, client: Client, cluster: Cluster
) -> None:
    client.subscribe(topic, "ann")
    with Proxy(cluster.fronts[0].port, first(10**6, EMPTY, "GET")) as proxy:
        run("verify", topic, "ann", "--seconds", "0.3", url=proxy.url, code=3)
        assert len(proxy.seen) == 1


def test_verify_proves_that_nothing_was_lost(run: Run, topic: str, client: Client) -> None:
    client.subscribe(topic, "ann")
    run("verify", topic, "ann", code=3)
    client.publish_many(topic, [b""] * 250)
    report = lines(run("verify", topic, "ann", "--json"))[0]
    assert (report["whole"], report["count"], report["missing"]) == (True, 250, 0)
    client.publish_many(topic, [b""] * 3)
    client.receive(topic, "ann")
    assert "2 messages" in run("verify", topic, "ann", "-n", "2").stdout


def test_verify_finds_what_is_missing(run: Run, topic: str, client: Client) -> None:
    client.subscribe(topic, "ann")
    client.publish(topic, "a")
    expiring = client.publish(topic, "b", ttl=0.001)
    client.publish(topic, "c")
    assert f"1 missing ({expiring.id})" in run("verify", topic, "ann", code=1).stdout


def test_verify_as_a_user_of_its_own(urls: list[str], topic: str, client: Client) -> None:
    client.subscribe(topic, "ann")
    process = start(urls[0], "verify", topic, "-n", "5", "--json")
    wait_for(lambda: client.publish(topic, "x").subscribers == 2)
    client.publish_many(topic, [b""] * 10)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert json.loads(out)["count"] == 5
    assert client.publish(topic, "x").subscribers == 1


def test_bench_measures_and_leaves_nothing(run: Run, client: Client) -> None:
    rows = lines(run("bench", "--seconds", "0.3", "--batch", "10", "--topic", "benched", "--json"))
    published, read = rows
    assert (published["what"], read["what"]) == ("publish", "read")
    assert published["count"] == read["count"]
    assert 0 < float(str(published["p50_ms"])) <= float(str(published["max_ms"]))
    assert client.publish("benched-0", "x").subscribers == 0
    assert "per_second" in run("bench", "--seconds", "0.1").stdout


def test_a_ceiling_is_5_and_unavailable_is_6(
    run: Run, topic: str, client: Client, cluster: Cluster, start_cluster: StartCluster
) -> None:
    full = start_cluster(brokers=1, fronts=1, broker_settings={"max_messages": 1})
    url = urls_of(full)[0]
    run("subscribe", "t", "ann", url=url)
    run("publish", "t", "a", url=url)
    assert "topic-full" in run("publish", "t", "b", url=url, code=5).stderr
    stored = run("publish", "t", "--lines", url=url, stdin="b\nc\n", code=5).stderr
    assert stored.startswith("0 lines were published before this")
    run("publish", topic, stdin="x" * 2_000_000, code=5)
    full.fronts[0].process.kill()
    assert "refused" in run("publish", "t", "b", "--within", "0.2", url=url, code=6).stderr
    with Proxy(cluster.fronts[0].port, first(100, REFUSE)) as proxy:
        run("publish", topic, "b", "--within", "0", url=proxy.url, code=6)
    with Proxy(cluster.fronts[0].port, first(100, SWALLOW)) as proxy:
        run("publish", topic, "b", "--within", "0", url=proxy.url, code=6)


def test_other_errors_are_1(run: Run, topic: str, client: Client) -> None:
    client.subscribe(topic, "ann")
    client.publish(topic, "x", key="k")
    run("publish", topic, "y", "--key", "k", code=1)
    run("read", topic, "ann", "--after", "ffff-1", code=1)


def test_help_names_every_command_and_the_exit_codes(run: Run) -> None:
    text = run("--help").stdout
    both = {"status"}
    public = {"subscribe", "unsubscribe", "publish", "read", "tail", "work", "dead", "stats", "verify", "bench"}
    for name in public | both:
        assert name in text
        assert "--url" in run(name, "--help").stdout
    for name in both | {"topics", "peek", "purge", "delayed", "cancel", "delete", "top", "brokers", "pause", "resume"}:
        assert name in text
        assert "--ops-url" in run(name, "--help").stdout
    assert "Exit codes" in text


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_it(run: Run, shell: str) -> None:
    assert "_FANMAIL_COMPLETE" in run("completion", shell).stdout
    environ = clean_environ() | {"PYTHONPATH": str(ROOT / "client" / "src"), "_FANMAIL_COMPLETE": f"{shell}_complete"}
    for words, found in (
        ("ver", "verify"),
        ("pee", "peek"),
        ("topics --sor", "--sort"),
        ("topics --sort ol", "oldest"),
    ):
        last = words.split()[-1] if shell == "fish" else str(len(words.split()))
        typed = environ | {"COMP_WORDS": f"fanmail {words}", "COMP_CWORD": last}
        argv = [sys.executable, "-m", "fanmail"]
        done = subprocess.run(argv, env=typed, capture_output=True, text=True, check=False)
        assert found in done.stdout, (words, done.stdout, done.stderr)
