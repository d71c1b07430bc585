"""What a broker says of itself in numbers. All are kept up as things happen: nothing is counted anew for an answer."""

from __future__ import annotations

from broker.dispatch.traffic import Traffic
from broker.operations.context import Core
from broker.state.ages import oldest_age
from common.clock import Now


def gauges(core: Core, traffic: Traffic, now: Now) -> dict[str, int]:
    """By the name that they have in the answer to STATS."""
    state = core.state
    return {
        "topics": len(state.topics),
        "subscriptions": state.subscriptions,
        "messages": state.messages,
        "content_bytes": state.content_bytes,
        "memory_bytes": state.memory,
        "memory_limit_bytes": core.limits.memory,
        "answer_bytes": traffic.answers,
        "answer_limit_bytes": traffic.most_answers,
        "leases": state.ledgers.open_leases,
        "dead_letters": state.ledgers.dead_letters,
        "dead_bytes": state.ledgers.dead_bytes,
        "delayed": len(state.delayed),
        "delayed_bytes": state.delayed.weight,
        "held_bytes": state.ledgers.held.total,
        "idempotency_keys": len(state.keys),
        "refusing": int(core.paused),
        "most_looks": core.most_looks,
        "oldest_age_ms": oldest_age(state.garbage.seconds, now.time),
    }
