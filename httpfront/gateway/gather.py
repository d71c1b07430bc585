"""Many calls of one request, which continues when all of them are answered."""

from __future__ import annotations

import greenlet

from common.errors import FanmailError
from httpfront.gateway.call import Answer


class Gather:
    """Collects answers.

    The calls' `waiting` are its places. Made in the greenlet that then parks once, where any answer is wanted.
    """

    def __init__(self) -> None:
        self.results: dict[str, Answer | FanmailError] = {}
        self.wanted = 0
        """Answers still missing."""
        self._waiting = greenlet.getcurrent()

    def place(self, name: str) -> Place:
        """Return the place for the answer of one call."""
        self.wanted += 1
        return Place(self, name)

    def take(self, name: str, answer: Answer) -> None:
        """Store an answer; with the last one, resume the request."""
        self.results[name] = answer
        self.wanted -= 1
        if not self.wanted:
            self._waiting.switch(None)


class Place:
    """Stands in for the greenlet of a call: `Hub.resume` switches to it."""

    def __init__(self, gather: Gather, name: str) -> None:
        self._gather = gather
        self._name = name

    def switch(self, answer: Answer) -> None:
        """Store the answer."""
        self._gather.take(self._name, answer)
