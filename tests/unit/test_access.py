"""The access log: nothing stops it, and it never waits."""

from __future__ import annotations

import io
import json

from httpfront.access import AccessLog


class FullDisk(io.StringIO):
    """Fails as often as it is told to."""

    failures = 1

    def write(self, text: str) -> int:
        if self.failures:
            self.failures -= 1
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_a_write_that_fails_does_not_end_the_log() -> None:
    stream = FullDisk()
    log = AccessLog("front", text=False, stream=stream)
    log.record("GET", "/{topic}/{user}", 200, 0.001, "r1", 10)
    log._flush()
    log.record("GET", "/{topic}/{user}", 204, 0.0015, "r2", 20)
    log.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {"request_id": "r2", "status": 204, "duration_ms": 1.5, "bytes": 20}.items() <= lines[0].items()
    assert lines[1]["route"] == "1 lines dropped"
