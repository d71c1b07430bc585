"""Completion of names of topics, which asks the operations port."""

from __future__ import annotations

import click

from fanmail.admin import Admin
from fanmail.api_key import read_api_key
from fanmail.cli.profile_store import chosen_profile, defaults_of, is_key_for, ops_url_of
from fanmail.errors import FanmailError
from fanmail.retry import ONCE
from fanmail.transport import DEFAULT_OPS_URL

TIMEOUT_S = 1.0
MAX_NAMES = 100


def complete_topic(ctx: click.Context, _: click.Parameter, beginning: str) -> list[str]:
    """Return names of topics that begin with what was typed; none where the operations port does not answer soon."""
    try:
        root = ctx.find_root().params.get("profile")
        profile = chosen_profile(root)
        urls = ctx.params.get("ops_url") or ops_url_of(profile, DEFAULT_OPS_URL)
        path = defaults_of(profile).get("api_key_file") if is_key_for(profile, "ops_url", urls) else None
        key = read_api_key(path, "api_key_file") if path else None
        with Admin(urls, key, retries=ONCE, timeout=TIMEOUT_S) as admin:
            return [each.topic for each in admin.topic_page(beginning, limit=MAX_NAMES).topics]
    except (FanmailError, ValueError):
        return []
