"""The cluster that the settings of a tool name: its description, and the keys with which tools connect."""

from __future__ import annotations

from pathlib import Path

from common.cluster.description import description_path, load_cluster
from common.cluster.slots import ClusterMap
from common.config import StartBrokersSettings
from common.errors import StartError
from common.keys.curve import KeyPair, check_front, front_pair


def running_cluster(settings: StartBrokersSettings) -> tuple[Path, ClusterMap, KeyPair | None]:
    """Return the path of the description, the cluster, and the keys of tools, which have passed `check_front`.

    Raises `StartError`, also where there is no description yet.
    """
    path = description_path(settings)
    if not path.exists():
        raise StartError(f"no brokers were started with run directory {settings.run_dir}: name another, or a --config")
    cluster = load_cluster(path, insecure=settings.insecure)
    keys = front_pair(settings.curve_dir)
    check_front(keys, cluster)
    return path, cluster, keys
