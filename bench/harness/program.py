"""`python -m bench.harness.program COMMAND ...`: exec a program that ends with the process that started it."""

from __future__ import annotations

import os
import signal
import sys

from common.process.readiness import die_with_parent


def main() -> None:
    """Replace this process with the program; does not return."""
    die_with_parent()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
