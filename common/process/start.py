"""The frame of every main function: errors, interrupts and exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from common.errors import StartError
from common.process.log_queue import queue_standard_error
from common.program import program
from common.units import count

AGAIN = 75
"""Exit code of a service that is to be started again at once: it has ended in order, in another role."""
INTERRUPTED = 130
"""Exit code of a tool that was interrupted by Ctrl-C, as in a shell."""


def how_many(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of a positional number, with the range in its error."""

    def parse(text: str) -> int:
        try:
            return count(low, high)(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low} to {high}") from None

    return parse


def run_main(main: Callable[[], int], prog: str = "", interrupted: int = 0) -> NoReturn:
    """Exit with what `main` returns. A `StartError` is one line on standard error and exit code 2.

    `prog` is the name of the program (`common/program.py`), which begins that line; the default is the package that was
    run. `interrupted` is the exit code of Ctrl-C. It is 0 for services, which have handlers of their own: they were
    interrupted before anything was started. For other values a line is printed.
    """
    spec = sys.modules["__main__"].__spec__
    prog = program(prog or (spec.name.split(".")[0] if spec else "fanmail"))
    try:
        code = main()
    except BrokenPipeError:  # the reader of the output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except StartError as error:
        print(f"{error.program or prog}: {' '.join(str(error).splitlines())}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = interrupted
        if interrupted:
            print(f"{prog}: interrupted", file=sys.stderr)
    sys.exit(code)


def run_service(main: Callable[[], int], prog: str = "") -> NoReturn:
    """Do the same for a service, whose loop must never block on standard error."""
    queue_standard_error()
    run_main(main, prog)
