"""The gauges of a broker. All are kept up to date as things happen: nothing is scanned for an answer."""

from __future__ import annotations

from broker.dispatch.traffic import Traffic
from broker.operations.context import Context
from broker.state.oldest import oldest_age
from common.clock import Now
from common.protocol import stats


def gauges(context: Context, traffic: Traffic, waiters: int, now: Now) -> dict[str, int]:
    """Return the gauges of `common/protocol/stats.py` by name; `waiters` is the number of parked WAITs."""
    state = context.state
    return {
        stats.TOPICS: len(state.topics),
        stats.SUBSCRIPTIONS: state.subscriptions,
        stats.MESSAGES: state.messages,
        stats.CONTENT_BYTES: state.content_bytes,
        stats.MEMORY_BYTES: state.memory,
        stats.MEMORY_LIMIT_BYTES: context.limits.memory,
        stats.ANSWER_BYTES: traffic.answers,
        stats.ANSWER_LIMIT_BYTES: traffic.most_answers,
        stats.LEASES: state.delivery_totals.open_leases,
        stats.DEAD_LETTERS: state.delivery_totals.dead_letters,
        stats.DEAD_BYTES: state.delivery_totals.dead_bytes,
        stats.DELAYED: len(state.delayed),
        stats.DELAYED_BYTES: state.delayed.weight,
        stats.HELD_BYTES: state.delivery_totals.held.total,
        stats.IDEMPOTENCY_KEYS: len(state.keys),
        stats.WAITERS: waiters,
        stats.SLOTS: state.slots.served.count(1),
        stats.SLOTS_MOVING: len(state.slots.leaving) + len(state.slots.coming),
        stats.PAUSED: int(context.paused),
        stats.MOST_SCANNED: context.most_scanned,
        stats.OLDEST_AGE_MS: oldest_age(state.garbage.seconds, now.time),
    }
