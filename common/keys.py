"""`python -m common.keys`, which is `bin/keys`: makes the keys that processes show each other."""

from __future__ import annotations

import argparse
import sys

from common import curve_keys
from common.process import run_main

PROG = "keys"


def main() -> int:
    """Raises `StartError`."""
    parser = argparse.ArgumentParser(prog=PROG, description="Makes keys.")
    subparsers = parser.add_subparsers(metavar="KIND", required=True)
    curve_keys.add_parser(subparsers)
    arguments = parser.parse_args(sys.argv[1:])
    return int(arguments.run(arguments))


if __name__ == "__main__":
    run_main(main, PROG)
