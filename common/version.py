"""The version of Fanmail: the one place from which server, tools and launchers (`bin/_answer`) read it.

The packages repeat it, because they are built without this folder; `tests/e2e/test_version.py` compares them.
"""

from __future__ import annotations

VERSION = "0.2.0"
