"""`python -m common.tools.help_texts`: write the texts of `bin/_help` from what the programs print for `--help`."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import re
import sys
from pathlib import Path

BIN = Path(__file__).resolve().parents[2] / "bin"
SUBCOMMANDS = {
    "keys": ("api", "curve"),
    "rebalance": ("plan", "run", "status", "pause", "resume", "abort", "abandon"),
    "replica": ("init", "status", "doctor", "spread", "handover", "seed", "relog", "import"),
}
OWN = ("test",)
"""Launchers whose text is not that of the program: it takes the arguments of pytest."""


def help_texts() -> dict[str, str]:
    """Return the name of each text and what the program prints; subcommands have texts of their own."""
    texts = {}
    for launcher in sorted(BIN.glob("[!_]*")):
        (module,) = re.findall(r"(?m)^exec .* -m (\S+)", launcher.read_text(encoding="utf-8"))
        if launcher.name not in OWN:
            texts[launcher.name] = _printed(module)
            for command in SUBCOMMANDS.get(launcher.name, ()):
                texts[f"{launcher.name}-{command}"] = _printed(module, command)
    return texts


def _printed(module: str, *arguments: str) -> str:
    """Return what the `main` of a module prints for `--help`."""
    spec = importlib.util.find_spec(module)
    package = spec.submodule_search_locations if spec else None
    program = importlib.import_module(f"{module}.__main__" if package else module)
    before, sys.argv = sys.argv, [module, *arguments, "--help"]
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            program.main()
    finally:
        sys.argv = before
    return out.getvalue()


if __name__ == "__main__":
    sys.path.append(str(BIN.parent / "client/src"))  # as bin/soak does
    for name, text in help_texts().items():
        (BIN / "_help" / f"{name}.txt").write_text(text, encoding="utf-8")
