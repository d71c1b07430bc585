"""The moves of slots in the loop, with their connections."""

from __future__ import annotations

from broker.dispatch.dispatcher import Dispatcher
from broker.dispatch.moves import Moves
from broker.server.links import BrokerLinks
from common.clock import Now


class Moving:
    """Of one broker. Belongs to the loop's thread."""

    def __init__(self, dispatcher: Dispatcher, links: BrokerLinks) -> None:
        self.links = links
        self._moves = Moves(dispatcher, links)
        self._begun = False

    def begin(self, now: Now) -> None:
        """Begin, when this broker has its state and may change it."""
        self._begun = True
        self.links.turn(now.mono)
        self._moves.begin(now)

    def turn(self, now: Now) -> None:
        """Read what other brokers have answered, and go on. What it decides is settled in this turn of the loop."""
        if self._begun:
            self.links.turn(now.mono)
            self._moves.turn(now)

    def wait_ms(self, most: float) -> float:
        """Return how long the loop may wait, `most` milliseconds at the most."""
        wait = self._moves.wait_ms if self._begun else None
        return most if wait is None else min(most, wait)

    def close(self) -> None:
        """Close the connections."""
        self.links.close()
