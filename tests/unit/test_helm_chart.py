"""`deploy/helm/fanmail`: what it renders is valid by the schemas, and in agreement with the program.

No cluster runs here: this is all that is known of it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from common.cluster.description import parse_cluster
from common.version import VERSION
from tests.support.deployed import DEPLOY, MODULES, Command, load_yaml, missing, read_image

CHART = DEPLOY / "helm" / "fanmail"
KEYS = {name: tomllib.loads(f'key = "{"abcdefgh"[n] * 40}"')["key"] for n, name in enumerate(("b0", "b1", "front"))}
GIVEN = (
    *(f"brokers[{n}].key={KEYS[f'b{n}']}" for n in range(2)),
    f"front.key={KEYS['front']}",
    "broker.settings.memory=2GiB",
)
EVERYTHING = ("ingress.enabled=true", "ingress.tlsSecret=tls", "autoscaling.enabled=true", "backup.enabled=true")
OPERATOR_KINDS = {"ServiceMonitor", "ScrapeConfig", "PrometheusRule"}


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = shutil.which("helm", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if path is None:
        missing("helm (.ci/helm)")
    return subprocess.run([str(path), *arguments], capture_output=True, text=True, timeout=60, check=False)


@cache
def rendered(*given: str) -> list[dict[str, Any]]:
    import yaml

    sets = [each for value in given for each in ("--set", value)]
    done = helm("template", "mail", str(CHART), "--namespace", "post", *sets)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def of_kind(kind: str, *given: str) -> list[dict[str, Any]]:
    return [each for each in rendered(*GIVEN, *given) if each["kind"] == kind]


def pods() -> dict[str, dict[str, Any]]:
    jobs = of_kind("CronJob", *EVERYTHING)
    found = {each["metadata"]["name"]: each["spec"]["jobTemplate"]["spec"]["template"]["spec"] for each in jobs}
    for kind in ("StatefulSet", "Deployment"):
        found |= {each["metadata"]["name"]: each["spec"]["template"]["spec"] for each in of_kind(kind, *EVERYTHING)}
    return found


def test_helm_finds_nothing_to_complain_about() -> None:
    done = helm("lint", "--strict", str(CHART), *(each for value in GIVEN for each in ("--set", value)))
    assert done.returncode == 0, done.stdout
    described = load_yaml(CHART / "Chart.yaml")[0]
    assert (described["version"], described["appVersion"]) == (VERSION, VERSION)


def test_keys_are_asked_for_by_name() -> None:
    assert "brokers[0].key: the public key of broker-0" in helm("template", "mail", str(CHART)).stderr


@pytest.mark.parametrize("given", [(), EVERYTHING], ids=["by default", "with everything"])
def test_what_it_renders_follows_the_schemas_of_kubernetes(given: tuple[str, ...]) -> None:
    try:
        import kubernetes_validate
    except ImportError:
        missing("kubernetes-validate")
    for each in rendered(*GIVEN, *given):
        kubernetes_validate.validate(each, "1.37", strict=True)


def test_names_are_unique_and_options_off_by_default() -> None:
    every = [*rendered(*GIVEN, *EVERYTHING, "monitoring.enabled=true")]
    names = [(each["kind"], each["metadata"]["name"]) for each in every]
    assert len(set(names)) == len(names)
    optional = {"Ingress", "CronJob", "HorizontalPodAutoscaler", *OPERATOR_KINDS}
    assert optional <= {kind for kind, _ in names}
    assert not optional & {each["kind"] for each in rendered(*GIVEN)}


def test_brokers_listen_where_their_description_says_and_see_their_own_key_only() -> None:
    (config,) = of_kind("ConfigMap")
    cluster = parse_cluster(tomllib.loads(config["data"]["cluster.toml"]))
    (service,) = [each for each in of_kind("Service") if each["metadata"]["name"] == "mail-brokers"]
    secrets = set()
    for address in cluster.brokers:
        (found,) = [each for each in of_kind("StatefulSet") if each["metadata"]["name"] == f"mail-{address.id}"]
        host = f"{found['metadata']['name']}-0.{service['metadata']['name']}.post.svc.cluster.local"
        assert address.endpoint == f"tcp://{host}:{service['spec']['ports'][0]['port']}"
        assert found["spec"]["serviceName"] == service["metadata"]["name"]
        (container,) = found["spec"]["template"]["spec"]["containers"]
        assert f"--id={address.id}" in container["args"]
        secrets |= {
            each["secret"]["secretName"] for each in found["spec"]["template"]["spec"]["volumes"] if "secret" in each
        }
    assert secrets == {f"mail-{each.id}-curve" for each in cluster.brokers}
    assert len(cluster.brokers) == 2


def test_containers_start_with_settings_that_fit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (config,) = of_kind("ConfigMap")
    (tmp_path / "cluster.toml").write_text(config["data"]["cluster.toml"])
    variables = read_image(DEPLOY / "docker" / "Dockerfile").variables
    for name in ("mail-broker-1", "mail-front"):
        (container,) = pods()[name]["containers"]
        module, *flags = container["args"]
        given = {each["name"]: each["value"] for each in container["env"]}
        settings = Command(module, flags, variables | given).settings(monkeypatch, tmp_path / "cluster.toml")
        assert isinstance(settings, MODULES[module])
        mounts = {each["mountPath"] for each in container["volumeMounts"]}
        assert settings.curve_dir in mounts
        if module == "broker":
            assert (settings.id, settings.memory, settings.store) == ("broker-1", 2 << 30, "sqlite")
            assert settings.data in mounts
            assert container["readinessProbe"]["exec"]["command"][-1] == f"{settings.run_dir}/broker-1.ready"
        else:
            assert {each["name"]: each["containerPort"] for each in container["ports"]} == {"http": 8100, "ops": 9100}
            assert (settings.port, settings.ops_port) == (8100, 9100)


def test_every_pod_is_closed_and_bounded_and_mounts_what_it_has() -> None:
    assert len(pods()) == 5
    for name, pod in pods().items():
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert "memory" in container["resources"]["limits"], name
        claims = ["data"] if name.startswith("mail-broker") else []
        assert sorted(each["name"] for each in container["volumeMounts"]) == sorted(
            [*(each["name"] for each in pod["volumes"]), *claims]
        ), name


def test_a_backup_mounts_the_volume_of_its_broker_and_may_connect_to_it() -> None:
    for number, job in enumerate(of_kind("CronJob", *EVERYTHING)):
        template = job["spec"]["jobTemplate"]["spec"]["template"]
        (claim, _) = [each["persistentVolumeClaim"]["claimName"] for each in template["spec"]["volumes"][-2:]]
        assert claim == f"data-mail-broker-{number}-0"
        (command,) = template["spec"]["containers"][0]["args"]
        assert f"--ids=broker-{number}" in command
        done = subprocess.run(["sh", "-n"], input=command, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert template["metadata"]["labels"]["app.kubernetes.io/component"] == "backup"
    policy = next(each for each in of_kind("NetworkPolicy") if each["metadata"]["name"] == "mail-brokers")
    (rule,) = policy["spec"]["ingress"][0]["from"][0]["podSelector"]["matchExpressions"]
    assert rule["values"] == ["front", "backup", "broker"]


def test_alerts_are_those_that_are_shipped_and_jobs_have_their_names() -> None:
    given = (*GIVEN, "monitoring.enabled=true")
    (rules,) = [each["spec"] for each in rendered(*given) if each["kind"] == "PrometheusRule"]
    assert rules == load_yaml(DEPLOY / "prometheus" / "alerts.yml")[0]
    jobs = {
        relabeling["replacement"]
        for each in rendered(*given)
        if each["kind"] in OPERATOR_KINDS - {"PrometheusRule"}
        for relabeling in [
            *each["spec"].get("relabelings", []),
            *each["spec"].get("endpoints", [{}])[0].get("relabelings", []),
        ]
    }
    assert jobs == set(re.findall(r'job="([a-z-]+)"', (DEPLOY / "prometheus" / "alerts.yml").read_text()))
