"""`fanmail top`: what a snapshot contains, what is drawn, and that it survives the loss of a front."""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest
from rich.console import Console

from fanmail import Broker, Client, NotFound, Subscription, TopicDetails, TopicPage, TopicSettings, Unavailable
from fanmail.cli.cluster_watch import ClusterSnapshot, ClusterWatcher, Rates, SlowSubscription
from fanmail.cli.top import Screen
from tests.client.commands import AtTerminal, Run, lines, start
from tests.conftest import StartCluster

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
GAUGES = {"messages": 1, "content_bytes": 2, "topics": 3, "subscriptions": 4, "leases": 0, "waiters": 0}
STATS = GAUGES | {"dead_letters": 0, "memory_bytes": 1, "memory_limit_bytes": 2, "oldest_age_ms": 75_000}


def broker(name: str, **stats: int) -> Broker:
    return Broker(name, True, False, False, 512, 0.001, STATS | stats)


def down(name: str) -> Broker:
    return Broker(name, False, False, False, 512, None)


def details(
    name: str, messages: int, oldest: float, broker: str = "b0", users: Iterable[str] = ("ann",)
) -> TopicDetails:
    nothing = TopicSettings()
    return TopicDetails(name, broker, "e", messages, 10, 1, oldest, 2, 1, nothing, nothing, tuple(users), False)


class FakeAdmin:
    """An `Admin` that serves the topics of one broker from a list, `page` at a time."""

    def __init__(self, topics: list[TopicDetails], page: int = 1000) -> None:
        self.known = {each.topic: each for each in topics}
        self.all = (broker("b0", published=0, delivered=0, topics=len(topics)),)
        self.page = page
        self.away = False

    def brokers(self) -> tuple[Broker, ...]:
        if self.away:
            raise Unavailable("nobody there")
        return self.all

    def topic_page(self, *, limit: int, broker: str, cursor: str | None) -> TopicPage:
        names = sorted(name for name in self.known if name > (cursor or ""))
        shown = [self.known[name] for name in names[: self.page]]
        return TopicPage(tuple(shown), shown[-1].topic if len(names) > self.page else None)

    def topic(self, name: str) -> TopicDetails:
        if name not in self.known:
            raise NotFound("no such topic", "no-topic", 404)
        return self.known[name]

    def subscription(self, topic: str, user: str) -> Subscription:
        return Subscription(user, 7, 0, 0, 1, self.topic(topic).oldest_age, 0, 0)


def watch(admin: FakeAdmin, rows: int = 3) -> ClusterWatcher:
    clock = itertools.count(100.0, 2.0)
    return ClusterWatcher(admin, rows, lambda: next(clock), lambda: NOW)  # type: ignore[arg-type]


def test_rates_are_of_one_process_between_two_looks() -> None:
    admin = FakeAdmin([])
    looking = watch(admin)
    seen = []
    for counters in ((10, 20), (30, 60), None, (40, 80), (50, 80), (5, 0), (5, 4)):
        admin.all = (down("b0"),) if counters is None else (broker("b0", published=counters[0], delivered=counters[1]),)
        rates = looking.snapshot().rates["b0"]
        seen.append((rates.published, rates.delivered))
    unknown = (None, None)
    assert seen == [unknown, (10.0, 20.0), unknown, unknown, (5.0, 0.0), unknown, (0.0, 2.0)]


def test_the_deepest_and_the_oldest_are_found_in_all_pages() -> None:
    topics = [details(f"t{n:03}", messages=n % 37, oldest=float(n % 41)) for n in range(100)]
    admin = FakeAdmin(topics, page=10)
    looking = watch(admin)
    looked = [looking.snapshot() for _ in range(10)]
    assert [each.examined for each in looked] == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    assert [each.messages for each in looked[-1].deepest] == [36, 36, 35]
    assert [each.oldest_age for each in looked[-1].oldest] == [40.0, 40.0, 39.0]
    assert looking.snapshot().examined == 100, "behind the first round it has seen all"


def test_what_was_found_is_looked_at_again_and_forgotten_when_it_is_gone() -> None:
    admin = FakeAdmin([details("a", 50, 5.0), details("b", 10, 9.0), details("c", 1, 1.0)], page=1)
    looking = watch(admin, rows=2)
    for _ in range(3):
        look = looking.snapshot()
    assert [each.topic for each in look.deepest] == ["a", "b"]
    admin.known["a"] = details("a", 5, 6.0)
    del admin.known["b"]
    looking.snapshot()
    look = looking.snapshot()  # it has examined c again meanwhile
    assert [(each.topic, each.messages) for each in look.deepest] == [("a", 5), ("c", 1)]
    admin.known["a"] = details("a", 0, 0.0)
    assert [each.topic for each in looking.snapshot().deepest] == ["c"]


def test_the_slowest_subscribers_hold_the_oldest_messages() -> None:
    crowd = details("crowd", 1, 9.0, users=[f"u{n}" for n in range(10)])
    looking = watch(FakeAdmin([crowd, details("other", 1, 5.0, users=["eve"])]), rows=5)
    found = [(each.subscription.user, each.topic) for each in looking.snapshot().slowest]
    assert found == [("u0", "crowd"), ("u1", "crowd"), ("u2", "crowd"), ("eve", "other")]


def test_topics_of_a_broker_that_is_down_are_not_asked_for() -> None:
    admin = FakeAdmin([details("a", 5, 5.0)])
    looking = watch(admin)
    assert looking.snapshot().deepest
    admin.all = (down("b0"),)
    look = looking.snapshot()
    assert (look.deepest, look.oldest, look.slowest, look.topics) == ([], [], [], 0)


def test_a_front_that_is_away_is_no_empty_cluster() -> None:
    admin = FakeAdmin([])
    looking = watch(admin)
    admin.away = True
    with pytest.raises(Unavailable):
        looking.snapshot()


def full_look() -> ClusterSnapshot:
    topics = [details("name " * 40 + str(n), 1_000_000 + n, 86_400.0 * n) for n in range(1, 20)]
    slow = [
        SlowSubscription(each.topic, Subscription("user " * 40, 10**6, 1, 2, 3, each.oldest_age, 0, 0))
        for each in topics
    ]
    brokers = tuple(broker(f"b{n}", oldest_age_ms=10**9) for n in range(4))
    rates = {each.id: Rates(123456.7, 1234.5) for each in brokers}
    return ClusterSnapshot(NOW, brokers, rates, topics, topics, slow, 3)


def drawn(screen: Screen, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, force_terminal=True, color_system=None, _environ={})
    with console.capture() as captured:
        console.print(screen)
    return captured.get().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (118, 24), (200, 60)])
def test_it_fits_its_window_and_cuts_names_only(width: int, height: int) -> None:
    screen = Screen(10, lambda: 0.0)
    screen.succeeded(full_look())
    shown = drawn(screen, width, height)
    assert len(shown) < height
    assert max(map(len, shown)) <= width
    assert sum("123k" in line for line in shown) == 4
    numbers = [line for line in shown if "1.0M" in line]
    assert len(numbers) >= 3
    assert all(" d 0 h" in line for line in numbers), "an age is whole"


def test_trouble_is_told_above_the_last_figures() -> None:
    clock = [0.0]
    screen = Screen(10, lambda: clock[0])
    assert "waiting for the first" in drawn(screen, 100, 30)[0]
    screen.failed(Unavailable("nobody there"))
    assert drawn(screen, 100, 30) == ["no answer: nobody there"]
    screen.succeeded(full_look())
    screen.failed(Unavailable("nobody there"))
    clock[0] = 75.0
    screen.failed(Unavailable("still nobody"))
    shown = drawn(screen, 100, 30)
    assert shown[0] == "no answer for 1 min 15 s; the figures are of 12:00:00: still nobody"
    assert any(line.startswith("b0") for line in shown)
    screen.succeeded(full_look())
    assert "4 of 4 brokers up" in drawn(screen, 100, 30)[0]


def test_each_look_is_a_json_line(run: Run, client: Client, topic: str) -> None:
    client.subscribe(topic, "ann")
    client.publish_many(topic, ["x"] * 9000)
    first, second = lines(run("top", "-n", "2", "--every", "0.1", "--json"))
    assert (first["published_per_second"], type(second["published_per_second"])) == (None, float)
    assert [each["state"] for each in second["brokers"]] == ["up", "up"]
    assert {"topic": topic, "messages": 9000}.items() <= second["deepest"][0].items()
    assert second["looked_at"] == second["topics"]
    client.unsubscribe(topic, "ann")


def test_without_a_terminal_each_look_is_printed(run: Run) -> None:
    shown = run("top", "-n", "2", "--every", "0.1").stdout
    assert shown.count("2 of 2 brokers up") == 2
    assert "\x1b" not in shown


def test_it_outlives_a_front(start_cluster: StartCluster) -> None:
    cluster = start_cluster(brokers=1, fronts=1)
    front = cluster.fronts[0]
    process = start(f"http://127.0.0.1:{front.ops_port}", "top", "--json", "--every", "0.1")
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["brokers"][0]["id"] == "b0"
    front.process.kill()
    assert "fanmail: " in process.stderr.readline()
    ops_port = front.ops_port
    cluster.start_front(front.port, ops_port=ops_port)
    while json.loads(process.stdout.readline())["brokers"][0]["state"] != "up":
        pass
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143


def test_at_a_terminal_it_has_a_screen_of_its_own(ops_urls: list[str]) -> None:
    terminal = AtTerminal(ops_urls[0], "top", "-n", "2", "--every", "0.1")
    assert terminal.end() == 0
    begins, ends = terminal.seen.index("\x1b[?1049h"), terminal.seen.index("\x1b[?1049l")
    assert "brokers up" in terminal.seen[begins:ends]
    assert "brokers up" in terminal.seen[ends:], "what was seen last stays"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_the_terminal_as_it_was(ops_urls: list[str], number: signal.Signals, code: int) -> None:
    terminal = AtTerminal(ops_urls[0], "top", "--every", "30")
    terminal.read_until("brokers up")
    terminal.process.send_signal(number)
    assert terminal.end() == code
    assert "\x1b[?1049l" in terminal.seen
    assert terminal.seen.rindex("\x1b[?25h") > terminal.seen.rindex("\x1b[?25l"), "the cursor is back"
