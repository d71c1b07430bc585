"""Requests that overtake: sent before their front knew that an earlier one of their slot was refused.

A front sends again what is refused as `moving` or `not-owner`, and keeps back what comes after it. But what it had sent
by then could be executed first, where the slot is served again in between. Every request frame says how much of the
replies its front has read; so a broker knows which requests these are, and refuses them, too.
"""

from __future__ import annotations

from collections.abc import Mapping

UNSENT = 2**62
"""In the place of a number of bytes: the refusal has not left yet."""


class Refusals:
    """The last refusal of each slot to each connection; forgotten when its front has read it."""

    def __init__(self, sent: Mapping[bytes, int]) -> None:
        """`sent` has the bytes of replies that were sent so far, by routing id of the connection."""
        self.marks: dict[bytes, dict[int, int]] = {}
        """By routing id and slot: the bytes of replies with which the refusal has been read. At most 1,024 per
        connection.
        """
        self._sent = sent
        self._unsent: dict[bytes, None] = {}

    def add(self, peer_id: bytes, slot: int) -> None:
        """Record a refusal that leaves with the replies of this turn."""
        self.marks.setdefault(peer_id, {})[slot] = UNSENT
        self._unsent[peer_id] = None

    def overtakes(self, peer_id: bytes, slot: int, taken: int) -> bool:
        """Return whether a request was sent before its front had read the refusal of an earlier one of its slot.

        `taken` is the bytes of replies that its front had read; negative: it does not say.
        """
        marks = self.marks.get(peer_id)
        if not marks or slot not in marks or taken < 0:
            return False
        if marks[slot] > taken or taken > self._sent.get(peer_id, 0):  # or the number is of before it was forgotten
            return True
        del marks[slot]
        if not marks:
            del self.marks[peer_id]
        return False

    def forget(self, peer_id: bytes) -> None:
        """Forget a connection that is gone."""
        self.marks.pop(peer_id, None)

    def left(self) -> None:
        """Note that all replies so far have been sent."""
        if not self._unsent:
            return
        for peer_id in self._unsent:
            marks = self.marks.get(peer_id, {})
            for slot, mark in marks.items():
                if mark == UNSENT:
                    marks[slot] = self._sent.get(peer_id, 0)
        self._unsent.clear()
