"""A stream as its client sees it, over a real socket: NDJSON lines or server-sent events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.e2e.cluster import Front


class Stream:
    """One open stream as NDJSON. `next` waits for the next object."""

    def __init__(self, front: Front, path: str, query: str = "", **headers: str) -> None:
        self._client = front.client()
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answer = self._client.open(f"{path}?stream=ndjson{query}", names)
        self.status = self.answer.status

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield every object until the stream ends."""
        while line := self.answer.readline():
            if line != b"\n":
                yield json.loads(line)

    def next(self) -> dict[str, Any]:
        return next(iter(self))

    def texts(self, count: int) -> list[str]:
        """Return the bodies of the next messages; nothing else may come."""
        return [self.next()["text"] for _ in range(count)]

    def close(self) -> None:
        self.answer.close()
        self._client.close()
