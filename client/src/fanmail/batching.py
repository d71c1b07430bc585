"""Splitting of messages into batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fanmail.deprecation import former_names

MAX_BATCH_MESSAGES = 10_000
"""The server's default limit."""
MAX_BATCH_BYTES = 8 * 1024 * 1024
"""The server's default limit, frame headers included."""
FRAME_HEADER_BYTES = 4


@former_names(most="max_messages", most_bytes="max_bytes")
def batches(
    bodies: Iterable[bytes], max_messages: int = MAX_BATCH_MESSAGES, max_bytes: int = MAX_BATCH_BYTES
) -> Iterator[list[bytes]]:
    """Split messages into lists for `publish_many`, each of at most `max_messages` and `max_bytes`.

    Deprecated: `most` and `most_bytes` are former names of these arguments.

    >>> [len(batch) for batch in batches([b"x"] * 25, max_messages=10)]
    [10, 10, 5]
    """
    batch: list[bytes] = []
    size = 0
    for body in bodies:
        if batch and (len(batch) == max_messages or size + len(body) + FRAME_HEADER_BYTES > max_bytes):
            yield batch
            batch, size = [], 0
        batch.append(body)
        size += len(body) + FRAME_HEADER_BYTES
    if batch:
        yield batch
