"""Settings from flags, environment variables and the configuration file."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar

import configargparse

from common.command_line import About, Parser, did_you_mean
from common.config import ROLES, Settings
from common.errors import StartError
from common.program import launcher
from common.setting_groups import grouped
from common.setting_text import as_text, flag, placeholder, shown, variable
from common.toml_file import read_toml
from common.units import LISTS, switch

S = TypeVar("S", bound=Settings)


def describe(item: Field[Any]) -> str:
    """Return the help text of a setting with its default, its variable, and its unit if the placeholder has another."""
    unit, default = item.metadata["unit"], item.default
    facts = [variable(item.name)]
    if default is not MISSING and default not in ("", ()):
        facts.insert(0, f"default {shown(item, default)}")
    if unit not in ("", "bytes") and unit.upper() != placeholder(item):
        facts.insert(0, unit)
    return f"{item.metadata['help']} [{', '.join(facts)}]".replace("%", "%%")


def load(
    role: type[S],
    prog: str,
    argv: Sequence[str],
    positional: Callable[[Any], None] | None = None,
    about: About | None = None,
    only: Sequence[str] = (),
) -> tuple[S, Any]:
    """Return the settings of `role` from flags, environment and file, and the namespace of the positional arguments.

    With `only` there are flags for these settings alone. Raises `StartError` with one line for anything invalid.
    `--help` prints the help and exits with code 0.
    """
    text, examples, arguments = about or About((role.__doc__ or "").split("\n")[0], ())
    parser = Parser(
        text,
        examples,
        prog,
        usage=f"{launcher(prog)}{' ' if arguments else ''}{arguments} [--SETTING VALUE ...]",
        config_file_parser_class=type("_RoleFile", (_File,), {"role": role}),
    )
    if positional:
        positional(parser)
    items = [item for item in fields(role) if not only or item.name in only]
    for title, members in grouped(items).items():
        group = parser.add_argument_group(title)
        for item in members:
            _add_flag(group, item)
    namespace, unknown = parser.parse_known_args(list(argv))
    if unknown:
        parser.error(f"unknown argument {unknown[0]!r} (--help lists them)")
    return role(**_parsed(items, namespace)), namespace


def _add_flag(group: Any, item: Field[Any]) -> None:
    options: dict[str, Any] = {"env_var": variable(item.name), "help": describe(item), "dest": item.name}
    if item.name == "config":
        options["is_config_file"] = True
    if item.metadata["parse"] is switch:
        options.update(nargs="?", const="on")
    if item.metadata["parse"] in LISTS:
        options["action"] = "append"
    group.add_argument(flag(item.name), metavar=placeholder(item), **options)


def _parsed(items: Sequence[Field[Any]], namespace: Any) -> dict[str, Any]:
    values = {}
    for item in items:
        text = getattr(namespace, item.name)
        if text is None:
            continue
        if isinstance(text, list):
            text = ",".join(text)
        try:
            values[item.name] = item.metadata["parse"](text)
        except ValueError as error:
            reason = str(error) if "must" in str(error) or "is not" in str(error) else "is not a number"
            raise StartError(f"{flag(item.name)} {text!r} {reason}") from None
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
                raise StartError(f"{path}: unknown setting {key!r} in [fanmail]{did_you_mean(name, known)}")
            if name in mine:
                result[name.replace("_", "-")] = as_text(value)
        return result
