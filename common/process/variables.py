"""Variables of the environment that look like settings and are none."""

from __future__ import annotations

import difflib
import logging
import os
from dataclasses import fields

from common.config import ROLES
from common.process.environment import SUPERVISOR
from common.setting_text import variable

NEAR = 0.85
"""How alike two names must be: Kubernetes sets variables of its own for a service called fanmail."""


def warn_of_misspelt_variables(log: logging.Logger) -> None:
    """Log variables that are no setting and whose name is nearly one; only the first process of a tree does."""
    if SUPERVISOR in os.environ:
        return
    known = {variable(item.name) for role in ROLES for item in fields(role)}
    for name in sorted(os.environ):
        if name.startswith("FANMAIL_") and name not in known:
            near = difflib.get_close_matches(name, known, 1, NEAR)
            if near:
                log.warning("unknown variable: it has no effect", extra={"variable": name, "did_you_mean": near[0]})
