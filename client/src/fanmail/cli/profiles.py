"""`fanmail profile`: add, use, list and remove profiles."""

from __future__ import annotations

from typing import Any

import click

from fanmail.cli.exit_codes import NOT_FOUND
from fanmail.cli.options import json_option
from fanmail.cli.output import print_rows
from fanmail.cli.profile_store import Profiles, read_profiles, write_profiles

COLUMNS = ("name", "used", "url", "ops_url", "api_key_file")


@click.group("profile")
def profile_commands() -> None:
    """Keep URLs and a key file under a name, so that commands need no options.

    Options and variables take precedence over the profile in use. FANMAIL_PROFILE or --profile choose another one for
    one call. The key itself is not kept, only the path of its file. It is sent to the URLs of the profile only.
    """


@profile_commands.command("add")
@click.argument("name")
@click.option("--url", help="Base URLs of fronts, separated by commas.")
@click.option("--ops-url", help="Base URLs of operations ports, separated by commas.")
@click.option("--api-key-file", type=click.Path(exists=True, dir_okay=False, resolve_path=True), help="The key file.")
def add_profile(name: str, **given: str | None) -> None:
    """Add the profile NAME, or replace it. The first one is used at once."""
    values = {key: value for key, value in given.items() if value}
    if not values:
        raise click.UsageError("give --url, --ops-url or --api-key-file")
    found = read_profiles()
    found.profiles[name] = values
    found.used = found.used or name
    write_profiles(found)


@profile_commands.command("use")
@click.argument("name", required=False)
def use_profile(name: str | None) -> None:
    """Use the profile NAME from now on; without NAME, none."""
    found = read_profiles()
    found.used = _known(found, name) if name else ""
    write_profiles(found)


@profile_commands.command("remove")
@click.argument("name")
def remove_profile(name: str) -> None:
    """Remove the profile NAME."""
    found = read_profiles()
    del found.profiles[_known(found, name)]
    found.used = "" if found.used == name else found.used
    write_profiles(found)


@profile_commands.command("list")
@json_option
def list_profiles(as_json: bool) -> None:
    """List the profiles."""
    found = read_profiles()
    rows: list[dict[str, Any]] = [
        {"name": name, "used": name == found.used if as_json else "*" * (name == found.used), **found.profiles[name]}
        for name in sorted(found.profiles)
    ]
    if rows:
        print_rows(rows, as_json, COLUMNS)


def _known(found: Profiles, name: str) -> str:
    if name not in found.profiles:
        click.echo(f"fanmail: there is no profile {name!r}", err=True)
        raise SystemExit(NOT_FOUND)
    return name
