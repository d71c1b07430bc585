"""Settings from flags, environment variables and the configuration file."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, fields
from typing import Any, NoReturn, TypeVar

import configargparse

from common.config import ROLES, Settings
from common.errors import StartError
from common.setting_text import as_text, flag, variable
from common.toml_file import read_toml
from common.units import LISTS, switch
from common.version import add_version

S = TypeVar("S", bound=Settings)


def describe(item: Field[Any]) -> str:
    """Return the help text of a setting with its unit, default and variable."""
    unit, default = item.metadata["unit"], item.default
    if default is MISSING or default in ("", ()):
        facts = [unit] if unit else []
    else:
        shown = as_text(default)
        facts = [f"{unit}, default {shown}" if unit else f"default {shown}"]
    return f"{item.metadata['help']} [{', '.join([*facts, variable(item.name)])}]".replace("%", "%%")


def load(
    role: type[S], prog: str, argv: Sequence[str], positional: Callable[[Any], None] | None = None
) -> tuple[S, Any]:
    """Return the settings of `role` from flags, environment and file, and the namespace of the positional arguments.

    Raises `StartError` with one line for anything invalid. `--help` prints the help and exits with code 0.
    """
    parser = _Parser(
        prog=prog,
        description=(role.__doc__ or "").split("\n")[0],
        config_file_parser_class=type("_RoleFile", (_File,), {"role": role}),
        add_env_var_help=False,
        add_config_file_help=False,
        allow_abbrev=False,
        args_for_setting_config_path=[],
    )
    add_version(parser)
    if positional:
        positional(parser)
    for item in fields(role):
        options: dict[str, Any] = {"env_var": variable(item.name), "help": describe(item), "dest": item.name}
        if item.name == "config":
            options["is_config_file"] = True
        if item.metadata["parse"] is switch:
            options.update(nargs="?", const="on")
        if item.metadata["parse"] in LISTS:
            options["action"] = "append"
        parser.add_argument(flag(item.name), metavar=item.metadata["unit"].upper() or "VALUE", **options)
    namespace, unknown = parser.parse_known_args(list(argv))
    if unknown:
        raise StartError(f"{prog}: unknown argument {unknown[0]!r} (--help lists them)")
    return role(**_parsed(role, prog, namespace)), namespace


def _parsed(role: type[Settings], prog: str, namespace: Any) -> dict[str, Any]:
    values = {}
    for item in fields(role):
        text = getattr(namespace, item.name)
        if text is None:
            continue
        if isinstance(text, list):
            text = ",".join(text)
        try:
            values[item.name] = item.metadata["parse"](text)
        except ValueError as error:
            reason = str(error) if "must" in str(error) or "is not" in str(error) else "is not a number"
            raise StartError(f"{prog}: {flag(item.name)} {text!r} {reason}") from None
    return values


def as_flags(settings: Settings, role: type[Settings], **changed: object) -> list[str]:
    """Return the flags that give another process of `role` these settings, with those in `changed` replaced.

    Defaults are included: the other process has the same environment, over which these flags must take precedence.
    """
    argv = []
    for item in fields(role):
        value = changed.get(item.name, getattr(settings, item.name))
        if value not in ("", ()):
            argv.append(f"{flag(item.name)}={as_text(value)}")
    return argv


class _Parser(configargparse.ArgumentParser):  # type: ignore[misc]
    """Raises errors as one line instead of printing them with the usage."""

    def error(self, message: str) -> NoReturn:
        raise StartError(f"{self.prog}: {message}")


class _File(configargparse.ConfigFileParser):  # type: ignore[misc]
    """The `[fanmail]` table of the configuration file, for one role.

    Keys that no role has are refused. Keys of other roles are ignored, so that one file serves all processes.
    """

    role: type[Settings] = Settings

    def get_syntax_description(self) -> str:
        return "TOML with a [fanmail] table"

    def parse(self, stream: Any) -> OrderedDict[str, str]:
        path = getattr(stream, "name", "the configuration file")
        table = read_toml(path).get("fanmail", {})
        if not isinstance(table, dict):
            raise StartError(f"{path}: fanmail must be a table: [fanmail]")
        mine = {item.name for item in fields(self.role)}
        known = {item.name for each in ROLES for item in fields(each)}
        result: OrderedDict[str, str] = OrderedDict()
        for key, value in table.items():
            name = key.replace("-", "_")
            if name not in known or name == "config":
                raise StartError(f"{path}: unknown setting {key!r} in [fanmail]")
            if name in mine:
                result[name.replace("_", "-")] = as_text(value)
        return result
