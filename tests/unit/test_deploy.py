"""`deploy/docker` and `deploy/kubernetes`: valid by their schemas, and in agreement with the program and each other.

No container engine and no cluster runs here: this is all that is known of these files.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from common.config import BrokerSettings, FrontSettings
from common.units import GIB, MIB
from common.version import VERSION
from fanmail.api_key import KEY_FILE_VARIABLE
from fanmail.transport import URL
from tests.e2e.proxies import certificate
from tests.support.deployed import (
    DEPLOY,
    MODULES,
    ROOT,
    VARIABLES,
    Command,
    description,
    load_yaml,
    missing,
    read_image,
    run_tool,
)
from tests.support.nats_cluster import server
from tests.support.table import table
from tests.unit.test_import_rules import MODULES as SOURCES
from tests.unit.test_import_rules import imported, tree

DOCKER, KUBERNETES = DEPLOY / "docker", DEPLOY / "kubernetes"
REPLICATED = DEPLOY / "kubernetes-replicated"
FORMS = {"plain": KUBERNETES, "replicated": REPLICATED}
BROKERS = {"plain": "broker", "replicated": "host"}
"""The stateful set of brokers of each form."""
COMPOSE = DOCKER / "compose.yaml"
IMAGE = DOCKER / "Dockerfile"
HAPROXY = DEPLOY / "haproxy" / "haproxy.cfg"
SHIPPED = [
    path
    for path in sorted(DEPLOY.rglob("*"))
    if path.is_file() and "secrets" not in path.parts and path.name != "api-keys.toml"
]
YAMLLINT = """
extends: default
rules: {document-start: disable, line-length: {max: 120}, octal-values: disable, truthy: {check-keys: false}}
"""
FRONT_DRAIN = FrontSettings.drain_timeout + FrontSettings.drain_idle
NAMES_IN_PACKAGES = {
    "prometheus-client": "prometheus_client",
    "pyzmq": "zmq",
    "ConfigArgParse": "configargparse",
    "nats-py": "nats",
}
NEEDED_BY_THEM = {"PyNaCl", "cffi", "pycparser"}
"""Packages that only another one imports."""
OPTIONAL = {"psycopg"}
"""Packages with a requirements file of their own, which are imported only where a setting asks for them."""


def manifests(folder: Path = KUBERNETES) -> list[dict[str, Any]]:
    names = load_yaml(folder / "kustomization.yaml")[0]["resources"]
    files = [folder / name for name in names]
    return [each for path in files for each in (manifests(path) if path.is_dir() else load_yaml(path))]


def the(kind: str, name: str, folder: Path = KUBERNETES) -> dict[str, Any]:
    (found,) = [each for each in manifests(folder) if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def workloads(folder: Path = KUBERNETES) -> dict[str, dict[str, Any]]:
    """Component -> the pod that is made of it."""
    found = [each["spec"]["template"] for each in manifests(folder) if "template" in each.get("spec", {})]
    return {each["metadata"]["labels"]["app.kubernetes.io/component"]: each["spec"] for each in found}


def in_pod(component: str, folder: Path = KUBERNETES) -> Command:
    container = workloads(folder)[component]["containers"][0]
    module, *flags = container["args"]
    variables = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    given = {"$(POD_NAME)": "broker-0" if folder == KUBERNETES else "host-0"}
    flags = [re.sub(r"\$\([A-Z_]+\)", lambda match: given[match[0]], flag) for flag in flags]
    return Command(module, flags, read_image(IMAGE).variables | variables)


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = load_yaml(COMPOSE)[0]["services"]
    return found


def in_compose(name: str) -> Command:
    service = services()[name]
    module, *flags = service["command"]
    return Command(module, flags, read_image(IMAGE).variables | service["environment"])


def named(prefix: str) -> list[str]:
    return sorted(name for name in services() if name.startswith(prefix))


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


# --- by the schemas and linters


@table("path", sorted(DOCKER.glob("*Dockerfile")))
def test_dockerfiles_are_as_hadolint_wants_them(path: Path) -> None:
    assert run_tool("hadolint", "--no-color", path) == ""


YAML = [path for folder in (DOCKER, KUBERNETES, REPLICATED) for path in sorted(folder.rglob("*.y*ml"))]
"""Of the chart only what is no template."""


@table("path", [*YAML, *sorted((DEPLOY / "helm").glob("*/*.yaml"))])
def test_yaml_says_nothing_twice(path: Path) -> None:
    assert run_tool("yamllint", "--strict", "-d", YAMLLINT, path) == ""


def test_compose_follows_its_specification() -> None:
    assert run_tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE) == ""


@table("form", FORMS)
def test_manifests_follow_the_schemas_of_kubernetes(form: str) -> None:
    try:
        import kubernetes_validate
    except ImportError:
        missing("kubernetes-validate")
    for each in manifests(FORMS[form]):
        kubernetes_validate.validate(each, "1.37", strict=True)


# --- what all of deploy/ says of the program


@table("path", SHIPPED)
def test_every_variable_is_a_setting(path: Path) -> None:
    of_nats = set(re.findall(r"^(FANMAIL_\w+) = ", (DEPLOY / "nats" / "permissions.conf").read_text(), re.MULTILINE))
    of_clients = {URL, KEY_FILE_VARIABLE}
    assert set(re.findall(r"FANMAIL_[A-Z_]*[A-Z]", path.read_text())) <= VARIABLES | of_nats | of_clients


@table("path", sorted(DEPLOY.rglob("cluster.toml")))
def test_every_description_can_be_used(path: Path) -> None:
    assert len(description(path).brokers) > 1


def test_the_server_needs_what_its_requirements_say_and_no_more() -> None:
    lines = (ROOT / "requirements-server.txt").read_text().splitlines()
    pinned = {line.split("==")[0] for line in lines if line and not line.startswith("#")}
    ours = {"common", "broker", "httpfront"}
    names = {name.partition(".")[0] for module in SOURCES for name in imported(tree(module))}
    others = names - ours - set(sys.stdlib_module_names)
    assert others - OPTIONAL == {NAMES_IN_PACKAGES.get(each, each) for each in pinned - NEEDED_BY_THEM}


# --- the image


def test_the_image_is_of_one_python_and_runs_as_nobody_in_particular() -> None:
    image = read_image(IMAGE)
    assert len(set(image.bases)) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", image.bases[0]), "pinned to a release"
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", image.user), "by number: Kubernetes cannot tell that a name is not root"
    label = "org.opencontainers.image"
    assert (image.labels[f"{label}.version"], image.labels[f"{label}.licenses"]) == (VERSION, "Apache-2.0")
    assert image.labels[f"{label}.source"] == "${SOURCE}"
    assert image.entry_point == ["/opt/fanmail/.venv/bin/python", "-m"]


def test_the_image_installs_what_is_pinned_by_its_hashes() -> None:
    text = (ROOT / "requirements-server.lock").read_text()
    found = re.findall(r"(?m)^([a-z0-9-]+==\S+) \\\n((?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n?)+)", text)
    lines = (ROOT / "requirements-server.txt").read_text().lower().splitlines()
    assert [name for name, _ in found] == sorted(line for line in lines if line and not line.startswith("#"))
    assert "--require-hashes" in IMAGE.read_text()


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    seen = Path(f"{IMAGE}.dockerignore").read_text().split("\n")
    copied = read_image(IMAGE).copied
    assert [line[1:] for line in seen if line.startswith("!")] == copied
    assert all((ROOT / each).exists() for each in copied)


# --- compose.yaml


@pytest.mark.parametrize("name", ["broker-0", "broker-1", "broker-2", "front-0", "front-1"])
def test_containers_start_with_settings_that_fit_their_cluster(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    service, cluster = services()[name], description(DOCKER / "etc" / "cluster.toml")
    settings = in_compose(name).settings(monkeypatch, DOCKER / "etc" / "cluster.toml")
    assert seconds(service["stop_grace_period"]) > FRONT_DRAIN + 5
    if name.startswith("front"):
        assert (settings.host, settings.port, settings.ops_host, settings.ops_port) == (
            ("0.0.0.0",),
            8100,
            ("0.0.0.0",),
            9100,
        )
        assert f"127.0.0.1:{settings.port}/readyz" in service["healthcheck"]["test"][-1]
        return
    assert settings.id == name
    assert service["hostname"] == cluster.endpoint(name).removeprefix("tcp://").partition(":")[0] == name
    assert service["secrets"] == [f"{name}.key"]
    assert service["healthcheck"]["test"][-1] == f"{settings.run_dir}/{name}.ready"
    assert f"{name}:{settings.data}" in service["volumes"]
    assert settings.store == "sqlite"


def test_the_description_has_the_brokers_of_compose() -> None:
    assert sorted(each.id for each in description(DOCKER / "etc" / "cluster.toml").brokers) == named("broker-")


def test_only_fronts_reach_brokers_and_only_the_host_reaches_what_is_published() -> None:
    networks = load_yaml(COMPOSE)[0]["networks"]
    assert {name for name, each in networks.items() if not each.get("internal")} == {"outside"}
    on_the_bus = {name for name, each in services().items() if "bus" in each["networks"]}
    assert on_the_bus == {*named("broker-"), *named("front-")}
    assert all(services()[name]["networks"] == ["bus"] for name in named("broker-"))
    outside = {name for name, each in services().items() if "outside" in each["networks"]}
    published = {name for name, each in services().items() if "ports" in each}
    assert published == {"haproxy", "grafana", "alertmanager"}
    assert outside == published | {"forward"}, "which calls what is outside"
    assert all(port.startswith("127.0.0.1:") for name in published for port in services()[name]["ports"])


def test_every_container_is_closed_and_bounded() -> None:
    for name, each in services().items():
        assert each["read_only"] is True, name
        assert each["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in each["security_opt"], name
        assert {"max-size", "max-file"} <= set(each["logging"]["options"]), name
        assert {"memory", "pids"} <= set(each["deploy"]["resources"]["limits"]), name
        assert "build" in each or re.search(r":v?\d+\.\d+\.\d+", each["image"]), f"{name} has no version"
        assert "test" in each["healthcheck"], name


def test_what_compose_mounts_is_there_or_is_a_secret() -> None:
    document = load_yaml(COMPOSE)[0]
    ignored = (ROOT / ".gitignore").read_text().split("\n")
    sources = [volume.split(":")[0] for each in services().values() for volume in each.get("volumes", [])]
    for source in sources:
        if not source.startswith("."):
            assert source in document["volumes"]
        else:
            assert (DOCKER / source).exists(), source
    for each in document["secrets"].values():
        folder = (DOCKER / each["file"]).resolve().parent
        assert f"{folder.relative_to(ROOT)}/" in ignored
    used = {secret for each in services().values() for secret in each.get("secrets", [])}
    assert used == set(document["secrets"])


def test_prometheus_and_haproxy_ask_every_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        name: in_compose(name).settings(monkeypatch, DOCKER / "etc" / "cluster.toml") for name in named("front-")
    }
    fronts, brokers, forwarders = load_yaml(DOCKER / "prometheus.yml")[0]["scrape_configs"]
    assert forwarders["dns_sd_configs"] == [{"names": ["forward"], "type": "A", "port": 9300}]
    operations = [f"{name}:{each.ops_port}" for name, each in settings.items()]
    assert fronts["static_configs"] == [{"targets": operations}]
    assert brokers["static_configs"] == [{"targets": ["haproxy:9200"]}]
    assert brokers["metrics_path"] == "/metrics/brokers"
    for job in (fronts, brokers):
        assert job["authorization"]["credentials_file"] == "/run/secrets/metrics.token"
    assert "watch" in services()["haproxy"]["networks"]
    (alertmanager,) = load_yaml(DOCKER / "prometheus.yml")[0]["alerting"]["alertmanagers"]
    assert alertmanager["static_configs"] == [{"targets": ["alertmanager:9093"]}]
    assert set(services()["prometheus"]["networks"]) & set(services()["alertmanager"]["networks"])
    notified = load_yaml(DOCKER / "alertmanager.yml")[0]
    assert notified["route"]["receiver"] in {each["name"] for each in notified["receivers"]}
    script = ["sed", "-f", str(DOCKER / "haproxy.sed"), str(HAPROXY)]
    text = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    servers = re.findall(r"^ *server \S+ (\S+)", text, re.MULTILINE)
    assert servers == [*(f"{name}:{each.port}" for name, each in settings.items()), *operations]
    assert re.findall(r"^ *bind (.*)", text, re.MULTILINE) == [":8080", ":9200"]
    assert services()["haproxy"]["ports"] == ["127.0.0.1:8080:8080"]
    (tmp_path / "haproxy.cfg").write_text(text)
    if shutil.which("haproxy") is None:
        missing("haproxy")
    check = ["haproxy", "-c", "-f", str(tmp_path / "haproxy.cfg")]
    done = subprocess.run(check, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


# --- the manifests


@pytest.mark.parametrize("component", ["broker", "front"])
def test_pods_start_with_settings_that_fit_their_cluster(component: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pod = workloads()[component]
    (container,) = pod["containers"]
    settings = in_pod(component).settings(monkeypatch, KUBERNETES / "cluster.toml")
    assert isinstance(settings, MODULES[in_pod(component).module])
    assert pod["enableServiceLinks"] is False, "a service called fanmail would set FANMAIL_PORT"
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    if component == "front":
        assert ports == {"http": settings.port, "ops": settings.ops_port}
        assert settings.host == settings.ops_host == ("0.0.0.0",)
        pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pod["terminationGracePeriodSeconds"] > pause + FRONT_DRAIN + 5
        for probe, path in (("startup", "/livez"), ("liveness", "/livez"), ("readiness", "/readyz")):
            assert container[f"{probe}Probe"]["httpGet"] == {"path": path, "port": "http"}
    else:
        assert settings.id == "broker-0"
        assert settings.data == next(each["mountPath"] for each in container["volumeMounts"] if each["name"] == "data")
        assert pod["terminationGracePeriodSeconds"] > BrokerSettings.goodbye_timeout + 5
        probe = container["readinessProbe"]["exec"]["command"]
        assert probe == ["sh", "-c", f'test -e "{settings.run_dir}/$POD_NAME.ready"']


def test_the_description_has_the_pods_of_the_stateful_set() -> None:
    brokers, service = the("StatefulSet", "broker"), the("Service", "fanmail-brokers")
    pods = [f"broker-{n}" for n in range(brokers["spec"]["replicas"])]
    domain = f"{brokers['spec']['serviceName']}.fanmail.svc.cluster.local"
    (port,) = service["spec"]["ports"]
    found = {each.id: each.endpoint for each in description(KUBERNETES / "cluster.toml").brokers}
    assert found == {pod: f"tcp://{pod}.{domain}:{port['port']}" for pod in pods}
    assert brokers["spec"]["serviceName"] == service["metadata"]["name"]
    assert (service["spec"]["clusterIP"], service["spec"]["publishNotReadyAddresses"]) == ("None", True)
    assert load_yaml(KUBERNETES / "kustomization.yaml")[0]["namespace"] == "fanmail"


def test_the_candidates_of_the_description_are_in_the_pods_of_their_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts, service = the("StatefulSet", "host", REPLICATED), the("Service", "fanmail-brokers", REPLICATED)
    domain = f"{hosts['spec']['serviceName']}.fanmail.svc.cluster.local"
    pods = [f"host-{n}" for n in range(hosts["spec"]["replicas"])]
    cluster = description(REPLICATED / "cluster.toml")
    assert {each.host for each in cluster.addresses} == set(pods)
    policy = the("NetworkPolicy", "fanmail-brokers", REPLICATED)["spec"]["ingress"][0]["ports"][0]
    for each in cluster.addresses:
        port = 7100 + int(each.id.removeprefix("b"))
        assert each.endpoint == f"tcp://{each.host}.{domain}:{port}"
        assert policy["port"] <= port <= policy["endPort"]
    assert (service["spec"]["clusterIP"], service["spec"]["publishNotReadyAddresses"]) == ("None", True)
    settings = in_pod("broker", REPLICATED).settings(monkeypatch, REPLICATED / "cluster.toml")
    assert (settings.candidate, settings.store) == ("host-0", "replicated")
    nats = the("StatefulSet", "nats", REPLICATED)
    servers = [f"nats-{n}.{nats['spec']['serviceName']}.fanmail.svc.cluster.local" for n in range(3)]
    assert settings.nats == tuple(f"tls://{name}:4222" for name in servers)
    mounts = workloads(REPLICATED)["broker"]["containers"][0]["volumeMounts"]
    places = {each["mountPath"] for each in mounts}
    assert {settings.data, settings.curve_dir, str(Path(settings.nats_ca).parent)} <= places
    limit = workloads(REPLICATED)["broker"]["containers"][0]["resources"]["limits"]["memory"]
    mine = [each for each in cluster.addresses if each.host == "host-0"]
    assert int(limit.removesuffix("Gi")) * GIB >= 2 * settings.memory * len(mine)


def test_every_candidate_and_front_has_its_secret_key_mounted() -> None:
    made = load_yaml(REPLICATED / "kustomization.yaml")[0]["secretGenerator"]
    files = {each["name"]: each["files"] for each in made}
    names = [each.name for each in description(REPLICATED / "cluster.toml").addresses]
    assert files["fanmail-brokers-curve"] == [f"secrets/{name}.key" for name in [*names, "front"]]


NATS_FILES = [DEPLOY / "nats" / "nats-server.conf", REPLICATED / "nats-server.conf"]


@table("path", NATS_FILES)
def test_nats_takes_its_configuration_and_syncs_every_write(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    assert "\n  sync_interval: always\n" in text
    assert int(re.findall(r"max_payload: (\d+)MB", text)[0]) * MIB >= FrontSettings.max_batch + MIB
    folder = "/etc/nats" if path.parent != REPLICATED else "/run/secrets/nats"
    certificate(tmp_path)
    for name, made in (("server.crt", "fanmail.crt"), ("server.key", "fanmail.key"), ("ca.crt", "fanmail.crt")):
        text = text.replace(f"{folder}/{name}", str(tmp_path / made))
    (tmp_path / "nats-server.conf").write_text(text)
    shutil.copy(DEPLOY / "nats" / "permissions.conf", tmp_path)
    argv = [str(server()), "-t", "-c", str(tmp_path / "nats-server.conf")]
    environ = {"PATH": "/usr/bin:/bin", "POD_NAME": "nats-0"}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False, env=environ)
    assert done.returncode == 0, done.stderr


def test_nats_has_room_for_every_log() -> None:
    for path, cluster in zip(NATS_FILES, (DEPLOY / "systemd" / "replicated", REPLICATED), strict=True):
        room = int(re.findall(r"max_file_store: (\d+)GB", path.read_text())[0]) * 10**9
        brokers = description(cluster / "cluster.toml").brokers
        assert room >= len(brokers) * BrokerSettings.log_max_bytes


@pytest.mark.parametrize(
    ("form", "component"),
    [("plain", "broker"), ("plain", "front"), *(("replicated", each) for each in ("broker", "nats", "replica"))],
)
def test_every_pod_is_closed_and_bounded(form: str, component: str) -> None:
    pod = workloads(FORMS[form])[component]
    (container,) = pod["containers"]
    user = "10002:10002" if component == "nats" else read_image(IMAGE).user
    security = pod["securityContext"]
    assert security["runAsNonRoot"] is True
    assert f"{security['runAsUser']}:{security['runAsGroup']}" == user
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert "memory" in container["resources"]["limits"]
    volumes = [each["name"] for each in pod["volumes"]]
    if component not in ("front", "replica"):
        stateful = the("StatefulSet", BROKERS[form] if component == "broker" else component, FORMS[form])
        volumes += [each["metadata"]["name"] for each in stateful["spec"]["volumeClaimTemplates"]]
    assert sorted(each["name"] for each in container["volumeMounts"]) == sorted(volumes)


@table("form", FORMS)
def test_what_pods_mount_is_made_of_files_that_are_there_or_are_secrets(form: str) -> None:
    folder = FORMS[form]
    kustomization = load_yaml(folder / "kustomization.yaml")[0]
    ignored = (ROOT / ".gitignore").read_text().split("\n")
    maps = {each["name"]: each["files"] for each in kustomization["configMapGenerator"]}
    secrets = {each["name"]: each["files"] for each in kustomization["secretGenerator"]}
    assert all((folder / file).exists() for files in maps.values() for file in files)
    assert f"{folder.relative_to(ROOT)}/secrets/" in ignored
    assert all(file.startswith("secrets/") for files in secrets.values() for file in files)
    volumes = [volume for pod in workloads(folder).values() for volume in pod["volumes"]]
    assert {each["configMap"]["name"] for each in volumes if "configMap" in each} == set(maps)
    assert {each["secret"]["secretName"] for each in volumes if "secret" in each} == set(secrets)


@table("form", FORMS)
def test_selectors_find_pods_and_ports_have_their_names(form: str) -> None:
    pods = workloads(FORMS[form])
    ports = {name: {each["name"] for each in pod["containers"][0].get("ports", ())} for name, pod in pods.items()}
    label = "app.kubernetes.io/component"
    for each in manifests(FORMS[form]):
        if each["kind"] == "Service":
            assert {port["targetPort"] for port in each["spec"]["ports"]} <= ports[each["spec"]["selector"][label]]
        elif each["kind"] == "PodDisruptionBudget":
            assert each["spec"]["selector"]["matchLabels"][label] in ports
    for policy in ("fanmail-brokers", "fanmail-fronts") if form == "plain" else ("fanmail-fronts",):
        spec = the("NetworkPolicy", policy)["spec"]
        mine = ports[spec["podSelector"]["matchLabels"][label]]
        assert {port["port"] for rule in spec["ingress"] for port in rule["ports"]} == mine
