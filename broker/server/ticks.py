"""How long the loop waits at the most when nothing comes."""

from __future__ import annotations

TICK_MS = 500
"""Milliseconds between two rounds of housekeeping when nothing happens."""
RECLAIM_TICK_MS = 100
"""Milliseconds, while the store has much space to reclaim."""
DRAINING_TICK_MS = 50
"""Milliseconds, while fronts are to say goodbye."""
BLOCKED_TICK_MS = 5
"""Milliseconds, while replies wait for a slow peer: ZeroMQ does not say when a ROUTER's peer takes more."""
