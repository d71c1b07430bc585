"""The rules of retries: which errors are retried, how long to wait, and which server comes next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fanmail.deprecation import former_fields
from fanmail.encoding import redacted
from fanmail.errors import FanmailError, OutcomeUnknown, Refused, Unavailable


@former_fields(most="max_pause")
@dataclass(frozen=True, slots=True)
class Retries:
    """How long to retry.

    Before each retry there is a pause: `Retry-After`, plus a random part of `base`, 2 x `base`, 4 x `base`, ... up to
    `max_pause` (full jitter, so that clients do not return all together). All times are seconds.
    """

    total: float | None = 30.0
    """How long after the first try another one may begin, not counting the waits of long polls. 0: one try only;
    None: no limit."""
    base: float = 0.1
    """Upper limit of the random part of the first pause."""
    max_pause: float = 5.0
    """Upper limit of the random part of every pause."""
    refused: bool = False
    """Whether to wait for room after 429, too. By default 429 is raised at once."""
    on_retry: Callable[[FanmailError], object] | None = None
    """Called before each pause with the error that is about to be retried, for logs. It must not block."""

    @property
    def most(self) -> float:
        """Deprecated: the former name of `max_pause`."""
        return self.max_pause

    def pause(self, failures: int, retry_after: float, random: float) -> float:
        """Return the seconds to wait after this many consecutive failures; `random` is from 0 to 1."""
        ceiling = min(self.max_pause, self.base * 2.0 ** min(failures - 1, 60))
        return retry_after + ceiling * random

    def allows(self, error: FanmailError, repeatable: bool) -> bool:
        """Return whether a call that failed with `error` may be retried."""
        if isinstance(error, Unavailable):
            return True
        if isinstance(error, OutcomeUnknown):
            return repeatable
        return self.refused and isinstance(error, Refused)


ONCE = Retries(total=0.0)
"""No retries."""


class BaseUrls:
    """The base URLs, one of which is in use.

    Threads may share it: the worst outcome of a race is one more switch.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        """Raise ValueError if there are no URLs or one of them is not a base URL."""
        if not urls:
            raise ValueError("no base URL")
        for url in urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"{redacted(url)!r} is not a base URL: it must begin with http:// or https://")
            if "?" in url or "#" in url:
                raise ValueError(f"{redacted(url)!r} is not a base URL: it has a query or a fragment")
        self._urls = [url.rstrip("/") for url in urls]
        self._index = 0

    def __len__(self) -> int:
        return len(self._urls)

    @property
    def current(self) -> str:
        """The base URL in use, without a trailing slash."""
        return self._urls[self._index]

    def switch_from(self, url: str) -> None:
        """Switch to the next base URL because `url` does not work, unless another thread has switched already."""
        if self.current == url:
            self._index = (self._index + 1) % len(self._urls)
