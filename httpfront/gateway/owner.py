"""Which of the candidates of a broker is in use. No sockets here.

The candidates follow one log, and the term of its owner only grows. A front knows the greatest term that any of them
has named: one that is ready in a smaller term was deposed, and may not know it yet.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from httpfront.gateway.broker_status import BrokerStatus

log = logging.getLogger("fanmail.front")


class Owner:
    """The candidate that a front uses, by what their replies say."""

    def __init__(self, candidates: Sequence[BrokerStatus], term: int = 0) -> None:
        """`candidates` has at least one. `term` is the greatest that is known already."""
        self._candidates = candidates
        self.status = candidates[0]
        """The candidate in use; it need not be up."""
        self.term = term
        """Greatest term of the log that any candidate has named."""

    def choose(self) -> bool:
        """Depose the candidates of former terms, and use the one that is ready; return whether it is another one."""
        self.term = max(self.term, *(each.term for each in self._candidates))
        for each in self._candidates:
            each.depose(self.term)
        former = self.status
        if not former.up:
            self.status = next((each for each in self._candidates if each.up), former)
        if self.status is former:
            return False
        log.info("owner changed", extra={"broker": self.status.broker, "host": self.status.host, "term": self.term})
        return True
