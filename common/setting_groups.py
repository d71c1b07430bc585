"""The groups in which `--help` and docs/settings.md list settings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import Field
from typing import Any

GROUPS = ("network", "storage", "limits", "timeouts", "logs")
"""In the order of the help."""
_NAMED = {
    "network": (
        *("host", "port", "ops_host", "ops_port", "allowed_hosts", "cors_origins", "api_keys_file", "connections"),
        *("config", "ids", "id", "candidate", "run_dir", "curve_dir", "insecure"),
        *("nats", "nats_credentials", "nats_ca", "nats_cert", "nats_key", "postgres"),
    ),
    "storage": ("store", "data", "disk_reserve", "topics", "log_max_bytes", "log_replicas", "log_keep"),
    "logs": ("log_format", "log_level", "access_log"),
}
_GROUP_OF = {name: group for group, names in _NAMED.items() for name in names}


def group_of(item: Field[Any]) -> str:
    """Return the group of a setting: by its name, else `timeouts` for seconds and `limits` for any other unit."""
    return _GROUP_OF.get(item.name) or ("timeouts" if item.metadata["unit"] == "seconds" else "limits")


def grouped(items: Iterable[Field[Any]]) -> dict[str, list[Field[Any]]]:
    """Return settings by group, in the order of the groups, without empty ones."""
    groups: dict[str, list[Field[Any]]] = {group: [] for group in GROUPS}
    for item in items:
        groups[group_of(item)].append(item)
    return {group: found for group, found in groups.items() if found}
