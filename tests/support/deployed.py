"""The files of `deploy/` as tests read them: YAML, the Dockerfile, and the commands of containers."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import string
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import zmq

from common import config_sources
from common.cluster.description import parse_cluster
from common.cluster.slots import ClusterMap
from common.config import ROLES, BrokerSettings, FrontSettings, Settings, StartBrokersSettings
from common.setting_text import variable

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
MODULES: dict[str, type[Settings]] = {
    "broker": BrokerSettings,
    "broker.start": StartBrokersSettings,
    "httpfront": FrontSettings,
}
VARIABLES = {variable(item.name) for role in ROLES for item in fields(role)}
_PLACEHOLDER = re.compile(r"the public key of [a-z0-9-]+ goes here")


def missing(what: str) -> None:
    """Skip a test whose tool is missing, or fail it in CI."""
    assert not os.environ.get("CI"), f"{what} is not installed (bin/_setup --dev)"
    pytest.skip(f"{what} is not installed (bin/_setup --dev)")


def run_tool(name: str, *arguments: str | Path) -> str:
    """Run a program of `requirements-dev.txt`. Return its findings."""
    path = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if path is None:
        missing(name)
    argv = [str(path), *map(str, arguments)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def load_yaml(path: Path) -> list[Any]:
    """Return the documents of a file."""
    if importlib.util.find_spec("yaml") is None:
        missing("PyYAML")
    import yaml

    return list(yaml.safe_load_all(path.read_text()))


def description(path: Path) -> ClusterMap:
    """Return a cluster description whose placeholders are replaced by keys."""
    text = _PLACEHOLDER.sub(lambda _: zmq.curve_keypair()[0].decode(), path.read_text())
    return parse_cluster(tomllib.loads(text))


class Command(NamedTuple):
    """What a container runs: a module with flags and variables."""

    module: str
    flags: list[str]
    variables: dict[str, str]

    def settings(self, monkeypatch: pytest.MonkeyPatch, cluster: Path) -> Any:
        """Return the settings that the program reads. `cluster` replaces /etc/fanmail/cluster.toml."""
        for name in [name for name in os.environ if name.startswith("FANMAIL_")]:
            monkeypatch.delenv(name)
        for name, value in self.variables.items():
            monkeypatch.setenv(name, value.replace("/etc/fanmail/cluster.toml", str(cluster)))
        flags = [flag.replace("/etc/fanmail/cluster.toml", str(cluster)) for flag in self.flags]
        return config_sources.load(MODULES[self.module], self.module, flags)[0]


class Image(NamedTuple):
    """A Dockerfile, parsed as far as tests need it."""

    bases: list[str]
    labels: dict[str, str]
    copied: list[str]
    """What is copied from the repository, each to a place of the same name."""
    variables: dict[str, str]
    user: str
    entry_point: list[str]


def read_image(path: Path) -> Image:
    lines = path.read_text().replace("\\\n", " ").splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    told: dict[str, list[str]] = {}
    for name, words in steps:
        told.setdefault(name, []).append(words)
    arguments = dict(words.partition("=")[::2] for words in told["ARG"] if "=" in words)
    copies = [shlex.split(words) for words in told["COPY"] if not words.startswith("--from=")]
    return Image(
        bases=[string.Template(words.split()[0]).substitute(arguments) for words in told["FROM"]],
        labels=dict(word.split("=", 1) for words in told["LABEL"] for word in shlex.split(words)),
        copied=[source for *sources, _ in copies for source in sources],
        variables=dict(word.split("=", 1) for words in told["ENV"] for word in shlex.split(words)),
        user=told["USER"][-1],
        entry_point=[word.strip('" ') for word in told["ENTRYPOINT"][-1].strip("[]").split(",")],
    )
