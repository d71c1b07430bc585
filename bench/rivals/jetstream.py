"""What one append costs without us: nats-py appends to a stream of the same kind, one at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from statistics import median

import nats
from nats.js.api import StorageType, StreamConfig

ENTRY_BYTES = 300
"""About those of a single publish of 100 bytes."""
REPLICAS = 3


def append_ms(urls: Sequence[str], appends: int) -> float:
    """Return the median milliseconds of an append to a new stream, which is deleted."""
    return asyncio.run(_append_ms(list(urls), appends))


async def _append_ms(urls: list[str], appends: int) -> float:
    connection = await nats.connect(urls)
    stream = connection.jetstream(timeout=10)
    try:
        await stream.add_stream(
            StreamConfig(name="BENCH", subjects=["bench"], num_replicas=REPLICAS, storage=StorageType.FILE)
        )
        taken = []
        for last in range(appends):
            began = time.perf_counter()
            await stream.publish("bench", b"x" * ENTRY_BYTES, headers={"Nats-Expected-Last-Sequence": str(last)})
            taken.append(time.perf_counter() - began)
        await stream.delete_stream("BENCH")
    finally:
        await connection.close()
    return median(taken) * 1000
