"""The version of Fanmail: the one place from which server, tools and launchers (`bin/_version`) read it.

The packages repeat it, because they are built without this folder; `tests/e2e/test_version.py` compares them.
"""

from __future__ import annotations

import argparse

VERSION = "0.2.0"


def add_version(parser: argparse.ArgumentParser) -> None:
    """Add `--version`: print the name of the program and the version, exit with 0."""
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s (Fanmail) {VERSION}", help="print the version and exit"
    )
