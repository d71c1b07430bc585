"""How the stream of a log, and the subjects that belong to it, are called.

All of them contain the log's id: who still writes to an older log of the same broker cannot touch the present one.
"""

from __future__ import annotations

from typing import NamedTuple


class StreamName(NamedTuple):
    """The log of one broker."""

    cluster: str
    broker: str
    log_id: bytes

    @property
    def stream(self) -> str:
        """Return the name of the stream."""
        return f"FM_{self.cluster}_{self.broker}_{self.log_id.hex()}"

    @property
    def subject(self) -> str:
        """Return the subject of its entries, the only one of the stream."""
        return f"{subjects_of(self.cluster, self.broker)[:-1]}{self.log_id.hex()}"

    @property
    def reports(self) -> str:
        """Return the subject on which the candidates tell each other what is not in the log."""
        return f"{self.subject}.report"

    def __str__(self) -> str:
        return self.stream


def subjects_of(cluster: str, broker: str) -> str:
    """Return the pattern of the subjects of all logs that a broker has ever had."""
    return f"fm.{cluster}.{broker}.*"


def name_of(cluster: str, broker: str, stream: str) -> StreamName | None:
    """Return the log that a stream of this broker holds; None for another name."""
    try:
        name = StreamName(cluster, broker, bytes.fromhex(stream.rpartition("_")[2]))
    except ValueError:
        return None
    return name if name.stream == stream else None
