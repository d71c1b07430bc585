"""Profiles: URLs and a key file by name, in the configuration directory of the user."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fanmail.api_key import KEY_FILE_VARIABLE, KEY_VARIABLE
from fanmail.transport import DEFAULT_OPS_URL, DEFAULT_URL, OPS_URL, base_urls

VARIABLE = "FANMAIL_PROFILE"
Profile = dict[str, str]
"""Values of the options of the same names."""


@dataclass
class Profiles:
    """The content of the file."""

    used: str = ""
    profiles: dict[str, Profile] = field(default_factory=dict)


def path_of_profiles() -> Path:
    """Return the path of the file, in `$XDG_CONFIG_HOME/fanmail` or `~/.config/fanmail`."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "fanmail" / "profiles.json"


def read_profiles() -> Profiles:
    """Return the profiles, none where there is no file. Raises ValueError for a file that cannot be used."""
    path = path_of_profiles()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        profiles = {str(name): {key: str(each[key]) for key in each} for name, each in found["profiles"].items()}
        return Profiles(str(found["used"]), profiles)
    except FileNotFoundError:
        return Profiles()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path}: is not a file of profiles") from None


def write_profiles(profiles: Profiles) -> None:
    """Write the file atomically, readable by its owner only. Raises ValueError."""
    path = path_of_profiles()
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(0o700, parents=True, exist_ok=True)
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(json.dumps(asdict(profiles), indent=2) + "\n")
        fresh.replace(path)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None


def chosen_profile(name: str | None) -> Profile:
    """Return the profile of this name, by default the one in use, or an empty one. Raises ValueError without such."""
    found = read_profiles()
    name = found.used if name is None else name
    if not name:
        return {}
    if name not in found.profiles:
        raise ValueError(f"there is no profile {name!r}: fanmail profile list shows them")
    return found.profiles[name]


def defaults_of(profile: Profile) -> Profile:
    """Return the defaults of options. Variables take precedence, also that of the key over the file of the profile."""
    has_key = os.environ.get(KEY_VARIABLE) or os.environ.get(KEY_FILE_VARIABLE)
    return {name: value for name, value in profile.items() if not (name == "api_key_file" and has_key)}


def is_key_for(profile: Profile, option: str, urls: str) -> bool:
    """Return whether the key of a profile may be sent to the URLs of this option: they are those of the profile."""
    own = profile.get(option) or {"url": DEFAULT_URL, "ops_url": DEFAULT_OPS_URL}[option]
    return _listed(urls) <= _listed(own)


def _listed(urls: str) -> set[str]:
    return {each.rstrip("/") for each in base_urls(urls)}


def ops_url_of(profile: Profile, default: str) -> str:
    """Return the URLs of operations ports where there is no option for them."""
    return os.environ.get(OPS_URL) or profile.get("ops_url") or default
