"""`python -m tests.support.hasty_front [settings]`: a front for which `confirm=client` means "when it is written"."""

from __future__ import annotations

from unittest.mock import patch

from common.process.start import run_service
from httpfront.__main__ import main
from httpfront.formats import stream_parameters


def hasty_main() -> int:
    """Serve until SIGTERM."""
    with patch.dict(stream_parameters.STREAM_PARAMETERS, confirm=lambda text: 0.0):
        return main()


if __name__ == "__main__":
    run_service(hasty_main, "front")
