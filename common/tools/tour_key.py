"""The API key in the commands of a tour."""

from __future__ import annotations


def with_key(commands: str, api_keys_file: str) -> str:
    """Return commands of which each call sends the key in FANMAIL_API_KEY, if the fronts require one."""
    return commands.replace("curl ", 'curl -H "Authorization: Bearer $FANMAIL_API_KEY" ') if api_keys_file else commands
