"""How the settings of a broker reach its context: ceilings, and the rules of topics from their file."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker import __main__ as program
from broker.operations.limits import Limits
from broker.state.topic_settings import TopicRules, TopicSettings
from common import config_sources
from common.cluster.description import load_cluster
from common.config import BrokerSettings
from common.errors import StartError
from common.tools.settings_page import settings_page

GOOD = '[[topics]]\npattern = "logs.*"\nmax_messages = 5\noverflow = "drop-oldest"\n'
BAD = '[[topics]]\npattern = "a*"\n[[topics]]\npattern = "b*"\noverflow = "explode"\n'
CLUSTER = '[[brokers]]\nid = "b0"\nendpoint = "ipc:///tmp/never"\n'

pytestmark = pytest.mark.usefixtures("no_settings")


def settings(*argv: str) -> BrokerSettings:
    return config_sources.load(BrokerSettings, "broker", argv)[0]


def rules(*argv: str) -> TopicRules:
    given = settings(*argv)
    return program._rules(given, program._limits(given))


# --- ceilings


def test_every_ceiling_reaches_the_limits_and_no_other_one() -> None:
    names = {
        "max_topics": "topics",
        "max_subscriptions": "subscriptions",
        "max_messages": "topic_messages",
        "max_bytes": "topic_bytes",
        "memory": "memory",
        "max_leases": "leases",
        "lease_window": "lease_window",
        "max_dead": "dead",
        "max_dead_bytes": "dead_bytes",
        "max_delayed": "delayed",
        "max_keys": "keys",
        "max_key_bytes": "key_bytes",
        "key_ttl": "key_ttl",
        "topic_share": "topic_share",
        "subscription_share": "subscription_share",
    }
    assert set(names.values()) == set(Limits._fields)
    plain = program._limits(settings())
    for name, limit in names.items():
        value = 80_000 if name == "key_ttl" else 2**20 + 7
        if name in ("max_leases", "max_dead"):
            value = 777
        if name.endswith("share"):
            value = 77
        changed = program._limits(settings(f"--{name.replace('_', '-')}={value}"))
        assert changed == plain._replace(**{limit: value * 10**6 if name == "key_ttl" else value})


def test_without_settings_a_broker_has_the_ceilings_of_the_core() -> None:
    limits = program._limits(settings())
    given = Limits(limits.topics, limits.subscriptions, limits.topic_messages, limits.topic_bytes, limits.memory)
    assert limits == given


def test_the_page_of_settings_is_the_table() -> None:
    page = Path(__file__).parents[4] / "docs" / "settings.md"
    assert page.read_text(encoding="utf-8") == settings_page()


# --- [[topics]]


def test_without_a_file_every_topic_has_the_settings_of_the_broker() -> None:
    found = rules("--max-messages=7", "--max-bytes=1MiB")
    assert found.of(b"logs.a") == TopicSettings(7, 2**20, 0, False)


def test_rules_come_from_the_file_of_topics(tmp_path: Path) -> None:
    (tmp_path / "topics.toml").write_text(GOOD)
    found = rules(f"--topics={tmp_path / 'topics.toml'}", "--max-messages=7", "--max-bytes=1MiB")
    assert found.of(b"logs.a") == TopicSettings(5, 2**20, 0, True)
    assert found.of(b"other") == TopicSettings(7, 2**20, 0, False)


def test_rules_may_stand_in_the_configuration_file_beside_the_brokers(tmp_path: Path) -> None:
    path = tmp_path / "fanmail.toml"
    path.write_text(f"[fanmail]\nmax-messages = 7\n{CLUSTER}{GOOD}")
    assert load_cluster(path, insecure=False).brokers[0].id == "b0"
    found = rules(f"--config={path}")
    assert [found.of(name).max_messages for name in (b"logs.a", b"other")] == [5, 7]


def test_the_file_of_topics_comes_before_the_configuration_file(tmp_path: Path) -> None:
    (tmp_path / "fanmail.toml").write_text(BAD)
    (tmp_path / "topics.toml").write_text(GOOD)
    found = rules(f"--config={tmp_path / 'fanmail.toml'}", f"--topics={tmp_path / 'topics.toml'}")
    assert found.of(b"logs.a").max_messages == 5


def test_the_file_may_be_named_by_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "topics.toml").write_text(GOOD)
    monkeypatch.setenv("FANMAIL_TOPICS", str(tmp_path / "topics.toml"))
    assert rules().of(b"logs.a").drop_oldest


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BAD, r"topics.toml: \[\[topics\]\] number 2: overflow = 'explode'"),
        ("topics = 3\n", r"topics.toml: topics must be an array of tables"),
        ("[topics]\n", r"topics.toml: topics must be an array of tables"),
        ("[[topics", r"topics.toml: not TOML"),
        (None, r"topics.toml: No such file"),
    ],
)
def test_a_file_that_cannot_be_used_stops_the_start(tmp_path: Path, text: str | None, reason: str) -> None:
    if text is not None:
        (tmp_path / "topics.toml").write_text(text)
    with pytest.raises(StartError, match=reason) as caught:
        rules(f"--topics={tmp_path / 'topics.toml'}")
    assert "\n" not in str(caught.value)
