"""What `deploy/` has for webhooks: the image, the Compose service, files of targets, alerts."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from prometheus_client import CollectorRegistry

from common.version import VERSION
from fanmail.cli.forward import forward
from fanmail.forward.config_file import read_targets
from fanmail.forward.exposition import TallyCollector
from fanmail.forward.tally import Durations, Tally
from fanmail.forward.target import OPTIONS
from tests.support.deployed import DEPLOY, ROOT, load_yaml, read_image
from tests.support.documents import anchors
from tests.support.table import table
from tests.support.units import read_unit

DOCKER, SYSTEMD = DEPLOY / "docker", DEPLOY / "systemd"
IMAGE = DOCKER / "forward.Dockerfile"
ALERTS = DEPLOY / "prometheus" / "alerts-forward.yml"
_PIN = re.compile(r"(?m)^([A-Za-z0-9-]+)(?:\[\w+\])?==(\S+)")


def pins(name: str) -> dict[str, str]:
    return dict(_PIN.findall((ROOT / name).read_text()))


def options(words: list[str]) -> dict[str, object]:
    """Return what the command makes of these words. Raises `UsageError` for what it does not know."""
    return forward.make_context("forward", [*words]).params


def test_the_image_is_that_of_the_server_but_for_its_contents() -> None:
    image, server = read_image(IMAGE), read_image(DOCKER / "Dockerfile")
    assert image.bases == server.bases
    assert image.user == server.user
    assert image.labels["org.opencontainers.image.version"] == VERSION
    assert image.entry_point == ["/opt/fanmail/.venv/bin/python", "-m", "fanmail", "forward"]
    seen = Path(f"{IMAGE}.dockerignore").read_text().split("\n")
    assert [line[1:] for line in seen if line.startswith("!")] == image.copied
    assert all((ROOT / each).exists() for each in image.copied)


def test_what_it_installs_is_what_is_tested_and_its_files_are_known() -> None:
    wanted, tested = pins("requirements-forward.txt"), pins("requirements.txt") | pins("requirements-server.txt")
    assert {name: tested[name] for name in wanted} == wanted
    lock = (ROOT / "requirements-forward.lock").read_text()
    found = re.findall(r"(?m)^([a-z0-9-]+)==(\S+) \\\n(?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n?)+", lock)
    assert len(found) == lock.count("==")
    assert wanted.items() <= dict(found).items()


def test_the_service_of_compose_runs_it_with_its_files() -> None:
    service = load_yaml(DOCKER / "compose.yaml")[0]["services"]["forward"]
    given = options(service["command"])
    assert (given["metrics_host"], given["metrics_port"]) == ("0.0.0.0", 9300)
    assert f"127.0.0.1:{given['metrics_port']}/metrics" in service["healthcheck"]["test"][-1]
    assert service["volumes"] == [f"./forward:{Path(str(given['config'])).parent}:ro"]
    assert service["build"]["dockerfile"] == str(IMAGE.relative_to(ROOT))
    assert set(service["environment"]["FANMAIL_URL"].split(",")) == {f"http://front-{n}:8100" for n in range(2)}
    text = (DOCKER / "forward" / "forwards.toml").read_text()
    mounted = {Path(path).name for path in re.findall(r"/run/secrets/([\w.]+)", text)}
    assert mounted | {Path(service["environment"]["FANMAIL_API_KEY_FILE"]).name} == set(service["secrets"])
    assert service["profiles"] == ["forward"], "it needs files of the user"


def test_the_unit_runs_it_and_is_not_started_again_where_that_mends_nothing() -> None:
    unit = read_unit((SYSTEMD / "fanmail-forward.service").read_text())
    words = unit["ExecStart"][0].split()
    assert words[:4] == ["/opt/fanmail/.venv/bin/python", "-m", "fanmail", "forward"]
    assert options(words[4:])["config"] == "/etc/fanmail/forwards.toml"
    assert unit["RestartPreventExitStatus"] == ["2 3"]
    assert int(unit["TimeoutStopSec"][0]) > 15 + 5


@table("path", [DOCKER / "forward" / "forwards.toml", SYSTEMD / "forwards.toml"])
def test_files_of_targets_can_be_used_where_there_are_secrets(path: Path) -> None:
    with pytest.raises(ValueError, match=r"\[\[targets\]\] 1: secrets_file: '\S+': No such file or directory$"):
        read_targets(str(path), {})


def test_alerts_name_metrics_that_there_are_and_have_a_section_of_the_runbook() -> None:
    registry = CollectorRegistry()
    registry.register(TallyCollector([Tally("t/u", Durations())], Durations()))
    there = {metric.name for metric in registry.collect()}
    (group,) = load_yaml(ALERTS)[0]["groups"]
    assert len(group["rules"]) >= 4
    for rule in group["rules"]:
        named = re.findall(r"fanmail_forward_\w+", rule["expr"])
        assert {each.removesuffix("_total") for each in named} <= there, rule
        anchor = rule["annotations"]["runbook_url"].rpartition("#")[2]
        assert anchor == rule["alert"].lower()
        assert anchor in anchors("docs/runbook.md")


def test_the_page_has_every_metric() -> None:
    registry = CollectorRegistry()
    registry.register(TallyCollector([Tally("t/u", Durations())], Durations()))
    there = {metric.name + "_total" * (metric.type == "counter") for metric in registry.collect()}
    page = (ROOT / "docs" / "howto-webhooks.md").read_text()
    assert set(re.findall(r"^\| `(fanmail_forward_\w+)`", page, re.MULTILINE)) == there


def test_every_option_of_a_target_is_one_of_the_command() -> None:
    assert isinstance(forward, click.Command)
    assert set(OPTIONS) <= {each.name for each in forward.params}
