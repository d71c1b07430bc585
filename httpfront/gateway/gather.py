"""Many calls of one request, which goes on when all of them are answered."""

from __future__ import annotations

import greenlet

from common.errors import FanmailError
from httpfront.gateway.call import Answer


class Gather:
    """Collects the answers of the calls whose `waiting` is one of its places. Made in the greenlet that then parks,
    once, where anything is wanted.
    """

    def __init__(self) -> None:
        self.results: dict[str, Answer | FanmailError] = {}
        self.wanted = 0
        """Answers that are still to come."""
        self._waiting = greenlet.getcurrent()

    def place(self, name: str) -> Place:
        """Where the answer of a call goes."""
        self.wanted += 1
        return Place(self, name)

    def take(self, name: str, answer: Answer) -> None:
        """An answer came; with the last one the request goes on."""
        self.results[name] = answer
        self.wanted -= 1
        if not self.wanted:
            self._waiting.switch(None)


class Place:
    """Stands where a call has its greenlet: `Hub.resume` switches to it."""

    def __init__(self, gather: Gather, name: str) -> None:
        self._gather = gather
        self._name = name

    def switch(self, answer: Answer) -> None:
        """The call is answered."""
        self._gather.take(self._name, answer)
