"""Ends what is left of topics whose slots have gone, or whose move was dropped. A bounded number of steps per turn."""

from __future__ import annotations

from itertools import islice

from broker.operations.context import Context
from broker.records import DelayEnded, KeyForgotten, SubscriptionEnded, TopicEnded


def find_residue(context: Context) -> None:
    """Note the slots of which something is left; called when the store is loaded."""
    slots = context.state.slots
    context.residue.update(slot for slot in slots.names if slots.gone(slot))


def end_residue(context: Context, most: int) -> None:
    """End at most about `most` things."""
    left = most
    for slot in sorted(context.residue):
        while left > 0 and (names := context.state.slots.names.get(slot)):
            left -= _end_some(context, next(iter(names)), left)
            context.may_cut()
        if slot not in context.state.slots.names:
            context.residue.discard(slot)
        if left <= 0:
            return


def _end_some(context: Context, name: bytes, most: int) -> int:
    """End at most `most` things by a name; return how many."""
    state = context.state
    if name in state.delayed.topics:
        numbers = list(islice(state.delayed.topics[name].after(0), most))
        for number in numbers:
            context.emit(DelayEnded(number))
        return len(numbers)
    topic = state.topics.get(name)
    if topic is None:
        count = min(most, state.keys.count(name))
        for _ in range(count):
            context.emit(KeyForgotten(name, state.keys.oldest_of(name)))
        return count
    users = list(islice(topic.subscriptions, most))
    for user in users:
        context.emit(SubscriptionEnded(name, user))
    if not topic.subscriptions:
        context.emit(TopicEnded(name))
    return len(users) + 1
