"""The operator's actions on the model, from docs/operations.md and docs/protocol.md. Idle clocks continue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.clock import Now
from common.protocol import ops
from tests.support.model_mail import LEASED
from tests.support.model_topic import ModelTopic
from tests.support.model_user import ModelUser

if TYPE_CHECKING:
    from tests.support.model import Aside, Model

SETTINGS = ("max_messages", "max_bytes", "max_age", "drop_oldest")


def topic_row(name: bytes, topic: ModelTopic, now: Now) -> ops.TopicRow:
    age = now.time - topic.pieces[0].time if topic.pieces else 0
    return ops.TopicRow(name, topic.epoch, topic.messages, topic.bytes, len(topic.users), age)


def describe(model: Model, name: bytes, args: ops.DescribeTopic, now: Now) -> ops.TopicInfo | str:
    """Describe a topic. A batch is stored as a whole: users who have not read all of the oldest one hold it."""
    topic = model.topics.get(name)
    if topic is None:
        return "no-topic"
    holders: list[bytes] = []
    last = args.after
    for user in sorted(each for each in topic.users if each > args.after) if topic.pieces else ():
        last = user
        if topic.users[user].needs_from() < topic.pieces[0].first + topic.pieces[0].count:
            holders.append(user)
            if len(holders) == args.max:
                break
    effective = ops.TopicSettings(*topic.settings)
    own = ops.TopicSettings(**topic.own)
    return ops.TopicInfo(
        topic_row(name, topic, now), topic.next_seq, topic.head, effective, own, holders, last, done=True
    )


def change(model: Model, name: bytes, args: ops.ChangeTopic) -> ops.Nothing | str:
    """Change settings of a topic, which drops nothing by itself."""
    topic = model.topics.get(name)
    if topic is None:
        return "no-topic"
    if not set(args.names) <= set(SETTINGS):
        return "bad-request"
    own = topic.own | {each: getattr(args.values, each) for each in args.names}
    topic.own = {each: value for each, value in own.items() if value is not None}
    topic.settings = model.configured(name)._replace(**topic.own)
    return ops.Nothing()


def end(model: Model, name: bytes, args: ops.EndTopic) -> ops.Ended | str:
    topic = model.topics.get(name)
    if topic is None:
        return "no-topic"
    ended = list(topic.users)[: args.max]
    for user in ended:
        model.unsubscribe(name, user)
    return ops.Ended(len(ended), len(topic.users))


def delayed(model: Model, name: bytes, args: ops.ListDelayed) -> ops.DelayedPage:
    """List delayed publishes in the order of acceptance. Bodies beyond the limit are cut off."""
    aside = sorted((each for each in model.aside if each.topic == name), key=lambda each: each.number)
    behind = [each for each in aside if each.number > args.after]
    rows: list[ops.DelayedRow] = []
    room = args.max_bytes
    for each in behind[: args.max]:
        ask, body = each.args, each.args.body[: max(0, room)]
        room -= len(body)
        size = len(ask.headers) + len(ask.body) + len(ask.offsets)
        about = (each.number, each.due, len(each.bodies), size, ask.ttl)
        rows.append(ops.DelayedRow(*about, ask.headers, body, bool(ask.offsets)))
    return ops.DelayedPage(rows, rows[-1].number if rows else args.after, len(rows) < args.max)


def end_delayed(model: Model, name: bytes, args: ops.EndDelayed) -> ops.Counted | str:
    for each in model.aside:
        if (each.topic, each.number, each.due) == (name, args.number, args.due_ms):
            return ops.Counted(_remove(model, each))
    return "no-delayed"


def clear_delayed(model: Model, name: bytes, args: ops.ClearDelayed) -> ops.Ended:
    aside = sorted((each for each in model.aside if each.topic == name), key=lambda each: each.number)
    for each in aside[: args.max]:
        _remove(model, each)
    return ops.Ended(len(aside[: args.max]), len(aside[args.max :]))


def _remove(model: Model, aside: Aside) -> int:
    model.aside.remove(aside)
    model.counts["dropped.removed"] += len(aside.bodies)
    return len(aside.bodies)


def user_row(name: bytes, user: ModelUser, now: Now) -> ops.UserRow:
    first = user.needs_from()
    times = [piece.time for piece in user.topic.pieces if piece.first <= first < piece.first + piece.count]
    age = now.time - times[0] if times else 0
    dead, settings = len(user.dead), (user.expires_after, user.max_deliveries)
    return ops.UserRow(name, user.pending(), user.leased(), dead, first, age, *settings)


def peek(user: ModelUser, args: ops.Peek, now: Now) -> ops.PeekedAll:
    """Return unacknowledged messages; those that were delivered before come first, even if they have expired since."""
    held = [each for each in user.held() if not user.gone(each)]
    fresh = [each for each in user.fresh() if not user.gone(each) and not each.mail.expired(now)]
    shown: list[ops.Peeked] = []
    for each in (held + fresh)[: args.max]:
        if shown and sum(len(other.body) for other in shown) + len(each.mail.body) > args.max_bytes:
            break
        state = "waiting" if each in fresh else "leased" if each.state == LEASED else "returned"
        mail = each.mail
        shown.append(ops.Peeked(mail.seq, mail.time, each.attempt, state, mail.headers, mail.body))
    return ops.PeekedAll(user.topic.epoch, shown)


def purge(user: ModelUser, now: Now) -> ops.Counted:
    """Delete unacknowledged messages. Those that the log has dropped already count as missed, not as purged.

    As this ends all leases, the idle time begins again.
    """
    gone = sum(user.gone(each) for each in user.items)
    user.model.counts["skipped.lost"] += gone
    if user.leased():
        user.idle_from = now.mono
    count = len(user.items) - gone
    user.items = []
    user.topic.tidy()
    user.model.counts["dropped.purged"] += count
    return ops.Counted(count)
