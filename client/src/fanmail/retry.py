"""When a call is tried again: 503 freely, 504 only where that is safe; how long to wait; and with which server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fanmail.errors import FanmailError, OutcomeUnknown, Refused, Unavailable
from fanmail.targets import shown


@dataclass(frozen=True, slots=True)
class Retries:
    """How long to go on trying.

    Between two tries there is a pause of `Retry-After` and a random part of `base`, 2 x `base`, 4 x `base`, ... up to
    `most` ("full jitter", so that clients do not come back together).
    """

    total: float | None = 30.0
    """Seconds from the first try on in which another may begin; a long poll's own wait comes on top. 0: one try; None:
    for ever."""
    base: float = 0.1
    """Seconds."""
    most: float = 5.0
    """Seconds."""
    refused: bool = False
    """Also wait for room after 429, which is raised at once otherwise."""

    def pause(self, failures: int, retry_after: float, chance: float) -> float:
        """Seconds before the next try, after so many `failures`; `chance` is from 0 to 1."""
        ceiling = min(self.most, self.base * 2.0 ** min(failures - 1, 60))
        return retry_after + ceiling * chance

    def allows(self, error: FanmailError, repeatable: bool) -> bool:
        """Whether a call that failed like this may be tried again."""
        if isinstance(error, Unavailable):
            return True
        if isinstance(error, OutcomeUnknown):
            return repeatable
        return self.refused and isinstance(error, Refused)


ONCE = Retries(total=0.0)
"""No retries."""


class Places:
    """The base URLs, and which of them answers. Threads may share it: the worst that a race does is another turn."""

    def __init__(self, urls: Sequence[str]) -> None:
        if not urls:
            raise ValueError("no base URL")
        for url in urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"{shown(url)!r} is no base URL: it begins with neither http:// nor https://")
            if "?" in url or "#" in url:
                raise ValueError(f"{shown(url)!r} is no base URL: it has a query or a fragment")
        self._urls = [url.rstrip("/") for url in urls]
        self._at = 0

    def __len__(self) -> int:
        return len(self._urls)

    @property
    def current(self) -> str:
        return self._urls[self._at]

    def leave(self, url: str) -> None:
        """It does not work: the next one's turn, unless somebody else has moved on already."""
        if self.current == url:
            self._at = (self._at + 1) % len(self._urls)
