"""Rules over patterns of names: what they cover, and what is refused where they are read."""

from __future__ import annotations

from typing import Any

import pytest

from common.keys.access_rules import parse_rule
from tests.support.table import table

ANYTHING = {"topic": "*", "user": "*"}


def covers(table: dict[str, Any], right: str, topic: str = "", user: str = "", subject: str = "me") -> bool:
    return parse_rule(table, subject, allows=True).covers(right, topic, user)


@table(
    ("pattern", "fitting", "others"),
    [
        ("orders.*", ["orders.", "orders.new", "orders.a/b", "orders.\u00f8"], ["orders", "Orders.new", "xorders.new"]),
        ("room-?", ["room-1", "room-\u00f8"], ["room-", "room-12"]),
        ("[ab]c", ["ac", "bc"], ["cc", "abc"]),
        ("[!a]c", ["bc"], ["ac"]),
        ("a.b", ["a.b"], ["axb"]),
        ("a[*]", ["a*"], ["ab"]),
    ],
)
def test_patterns_are_those_of_topics(pattern: str, fitting: list[str], others: list[str]) -> None:
    rule = {"rights": ["publish"], "topic": pattern}
    assert [name for name in fitting + others if covers(rule, "publish", name)] == fitting


def test_a_pattern_fits_a_name_to_its_end() -> None:
    assert not covers({"rights": ["publish"], "topic": "a"}, "publish", "a\n")
    assert covers({"rights": ["publish"], "topic": "*"}, "publish", "a\u2028b")


@table("subject", ["me", "*", "?", "[ab]", "a.b", "{sub}", "x)|(.*", "\\d", "a b", "-"])
def test_a_subject_is_taken_letter_by_letter(subject: str) -> None:
    rule = {"rights": ["consume"], "topic": "*", "user": "{sub}"}
    assert covers(rule, "consume", "t", subject, subject)
    for other in ("you", "", "a", "axb", "x", "1", subject + "x", "x" + subject, subject.upper() + "."):
        assert not covers(rule, "consume", "t", other, subject)


def test_a_subject_may_be_a_part_of_a_pattern() -> None:
    rule = {"rights": ["publish"], "topic": "in.{sub}.*"}
    assert covers(rule, "publish", "in.a*.x", subject="a*")
    assert not covers(rule, "publish", "in.ab.x", subject="a*")
    assert covers({"rights": ["publish"], "topic": "[ab]{sub}"}, "publish", "bme")


def test_a_rule_is_about_its_own_rights() -> None:
    rule = {"rights": ["subscribe", "consume"], **ANYTHING}
    assert [right for right in ("publish", "subscribe", "consume", "admin", "metrics") if covers(rule, right)] == [
        "subscribe",
        "consume",
    ]


def test_admin_is_the_whole_operations_port() -> None:
    assert covers({"rights": ["admin"]}, "metrics")
    assert not covers({"rights": ["metrics"]}, "admin")
    assert not covers({"rights": ["admin"]}, "publish", "t")


def test_what_a_rule_that_denies_leaves_out_is_everything() -> None:
    rule = parse_rule({"rights": ["consume", "publish"]}, "me", allows=False)
    assert rule.covers("consume", "t", "u")
    assert rule.covers("publish", "t", "")


@table(
    ("table", "said"),
    [
        ([], "must be a table"),
        ({}, "needs rights"),
        ({"rights": "publish"}, "needs rights, a list"),
        ({"rights": []}, "needs rights"),
        ({"rights": [1]}, "needs rights"),
        ({"rights": ["fly"], **ANYTHING}, "rights has an unknown value 'fly'"),
        ({"rights": ["Publish"], "topic": "*"}, "rights has an unknown value 'Publish'"),
        ({"rights": ["publish"]}, "needs topic"),
        ({"rights": ["consume"], "topic": "*"}, "needs user"),
        ({"rights": ["subscribe"], "user": "*"}, "needs topic"),
        ({"rights": ["publish"], "topic": "*", "user": "*"}, "user does not apply to publish"),
        ({"rights": ["consume", "publish"], "topic": "*", "user": "*"}, "user does not apply to publish"),
        ({"rights": ["admin"], "topic": "*"}, "topic does not apply to admin"),
        ({"rights": ["metrics"], "user": "*"}, "user does not apply to metrics"),
        ({"rights": ["publish"], "topics": "*"}, "has an unknown member 'topics'"),
        ({"rights": ["publish"], "topic": ""}, "topic must be a pattern"),
        ({"rights": ["publish"], "topic": 1}, "topic must be a pattern"),
        ({"rights": ["publish"], "topic": "a\nb"}, "topic must be a pattern"),
        ({"rights": ["publish"], "topic": "x" * 1025}, "topic must be a pattern"),
        ({"rights": ["publish"], "topic": "[{sub}]"}, "topic has {sub} inside [...]"),
        ({"rights": ["publish"], "topic": "[]a{sub}]"}, "topic has {sub} inside [...]"),
        ({"rights": ["publish"], "topic": "[!{sub}"}, "topic has {sub} inside [...]"),
    ],
)
def test_a_rule_that_says_too_little_or_too_much_is_refused(table: Any, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_rule(table, "me", allows=True)
    assert str(caught.value).startswith(said)
