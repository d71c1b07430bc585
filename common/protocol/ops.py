"""The table of operations: the requests of fronts to brokers, with their arguments and results.

Arguments and results are MessagePack arrays in the order of the fields. Fields are only added at the end, with a
default, so that neighbouring versions understand each other.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from msgspec import Struct

from common.protocol import move_ops as moves
from common.protocol.admin_ops import ChangeTopic as ChangeTopic
from common.protocol.admin_ops import DescribeTopic as DescribeTopic
from common.protocol.admin_ops import Ended as Ended
from common.protocol.admin_ops import EndTopic as EndTopic
from common.protocol.admin_ops import ListTopics as ListTopics
from common.protocol.admin_ops import ListUsers as ListUsers
from common.protocol.admin_ops import Pause as Pause
from common.protocol.admin_ops import Peek as Peek
from common.protocol.admin_ops import Peeked as Peeked
from common.protocol.admin_ops import PeekedAll as PeekedAll
from common.protocol.admin_ops import TopicInfo as TopicInfo
from common.protocol.admin_ops import TopicPage as TopicPage
from common.protocol.admin_ops import TopicRow as TopicRow
from common.protocol.admin_ops import TopicSettings as TopicSettings
from common.protocol.admin_ops import UserPage as UserPage
from common.protocol.admin_ops import UserRow as UserRow
from common.protocol.control_ops import Backup as Backup
from common.protocol.control_ops import BackupPart as BackupPart
from common.protocol.control_ops import BackupProgress as BackupProgress
from common.protocol.control_ops import HandOver as HandOver
from common.protocol.control_ops import Ping as Ping
from common.protocol.control_ops import Pong as Pong
from common.protocol.control_ops import ReadBackup as ReadBackup
from common.protocol.control_ops import Replica as Replica
from common.protocol.control_ops import Stats as Stats
from common.protocol.delayed_ops import ClearDelayed as ClearDelayed
from common.protocol.delayed_ops import DelayedPage as DelayedPage
from common.protocol.delayed_ops import DelayedRow as DelayedRow
from common.protocol.delayed_ops import DelayedTopicPage as DelayedTopicPage
from common.protocol.delayed_ops import DelayedTopicRow as DelayedTopicRow
from common.protocol.delayed_ops import EndDelayed as EndDelayed
from common.protocol.delayed_ops import ListDelayed as ListDelayed
from common.protocol.delayed_ops import ListDelayedTopics as ListDelayedTopics
from common.protocol.lease_ops import Amount as Amount
from common.protocol.lease_ops import Counted as Counted
from common.protocol.lease_ops import DeadLetter as DeadLetter
from common.protocol.lease_ops import DeadLetters as DeadLetters
from common.protocol.lease_ops import Extend as Extend
from common.protocol.lease_ops import Finish as Finish
from common.protocol.lease_ops import Finished as Finished
from common.protocol.lease_ops import ListDead as ListDead
from common.protocol.lease_ops import Receipt as Receipt
from common.protocol.publish_ops import Publish as Publish
from common.protocol.publish_ops import PublishApart as PublishApart
from common.protocol.publish_ops import Published as Published
from common.protocol.publish_ops import PublishedApart as PublishedApart
from common.protocol.stream_ops import Confirm as Confirm
from common.protocol.stream_ops import Confirmed as Confirmed
from common.protocol.stream_ops import OpenStream as OpenStream
from common.protocol.stream_ops import StreamOpened as StreamOpened
from common.protocol.subscription_ops import Settings as Settings
from common.protocol.subscription_ops import Status as Status
from common.protocol.subscription_ops import Subscribed as Subscribed
from common.protocol.waiting_ops import Cancel as Cancel
from common.protocol.waiting_ops import Wait as Wait
from common.protocol.waiting_ops import WaitResult as WaitResult


class Op(IntEnum):
    """Numbers are never reused."""

    PING = 1
    GOODBYE = 2
    STATS = 3
    BACKUP = 4
    BACKUP_READ = 5
    REPLICA = 6
    HAND_OVER = 7
    SUBSCRIBE = 10
    UNSUBSCRIBE = 11
    PUBLISH = 12
    TAKE = 13
    LOOK = 14
    WAIT = 15
    SKIP = 16
    FETCH = 17
    CONFIGURE = 18
    FINISH = 19
    EXTEND = 20
    DEAD_LIST = 21
    DEAD_RETURN = 22
    DEAD_CLEAR = 23
    CANCEL = 24
    STREAM = 25
    CONFIRM = 26
    PUBLISH_APART = 27
    TOPICS = 30
    TOPIC = 31
    TOPIC_CHANGE = 32
    TOPIC_END = 33
    USERS = 34
    USER = 35
    PEEK = 36
    PURGE = 37
    PAUSE = 38
    DELAYED_TOPICS = 39
    DELAYED = 40
    DELAYED_END = 41
    DELAYED_CLEAR = 42
    MOVE = 50
    MOVE_ABORT = 51
    SLOTS = 52
    CLAIM = 53
    OFFER = 54
    ADOPT = 55
    MOVE_ASK = 56
    MOVES_PAUSE = 57
    SLOTS_DROP = 58


class Nothing(Struct, array_like=True):
    """No arguments, or no result."""


class Take(Struct, array_like=True):
    """Which message to deliver, and whether that acknowledges it.

    Without `after`: the next one, at most once. With it: everything up to and including `epoch`-`seq` is acknowledged
    (`seq` 0: nothing), and the next one is delivered without being taken.
    """

    after: bool = False
    epoch: str = ""
    seq: int = 0
    lease: Amount = 0
    """Microseconds of a lease; 0: the message is taken. Not together with `after`."""
    room: Amount = 0
    """Bytes of content that the front has space for; a larger message is `answer-too-large`, and stays. 0: any."""


class Fetch(Struct, array_like=True):
    """Several messages at once; the first fields are those of `Take`."""

    after: bool
    epoch: str
    seq: int
    max: int
    """Maximum number of messages, at least 1."""
    max_bytes: int
    """Maximum bytes of frames, and separately of kept headers; a single message may exceed it."""
    one_run: bool
    """Only messages with the same kept headers, in one run."""
    lease: Amount = 0
    """As in `Take`; not together with `one_run`."""
    room: Amount = 0
    """As in `Take`, of the first message."""
    place: Amount = 0
    """Read a stream from this sequence number of `epoch` on; nothing is taken or confirmed. 0: this is no stream."""


class Message(Struct, array_like=True):
    """A delivered message."""

    epoch: str
    seq: int
    time: int
    """Milliseconds since 1970 UTC at publish."""
    attempt: int
    pending: int
    """Messages that wait for this subscriber after this one."""
    headers: bytes
    body: bytes


class Run(Struct, array_like=True):
    """Messages with consecutive numbers and the same kept headers, attempt and time, as frames."""

    first: int
    count: int
    time: int
    headers: bytes
    body: bytes
    attempt: int = 1


class Batch(Struct, array_like=True):
    """Messages delivered together. The second frame of a reply, if any, is the body of the only run."""

    epoch: str
    pending: int
    """Messages that wait for this subscriber after these."""
    runs: list[Run]
    """At least one, except of a stream."""
    position: int = 0
    """Of a stream: the first message that is neither done nor dropped; where it is above `place`, some were missed."""


class OpSpec(NamedTuple):
    """One row of the table."""

    args: type[Struct]
    result: type[Struct]
    on_topic: bool = True
    """Whether it has a topic, which the broker must own."""
    on_user: bool = False
    """Whether it has a user too."""


OPS: dict[Op, OpSpec] = {
    Op.PING: OpSpec(Ping, Pong, on_topic=False),
    Op.GOODBYE: OpSpec(Nothing, Nothing, on_topic=False),
    Op.BACKUP: OpSpec(Backup, BackupProgress, on_topic=False),
    Op.BACKUP_READ: OpSpec(ReadBackup, BackupPart, on_topic=False),
    Op.REPLICA: OpSpec(Nothing, Replica, on_topic=False),
    Op.HAND_OVER: OpSpec(HandOver, Nothing, on_topic=False),
    Op.STATS: OpSpec(Nothing, Stats, on_topic=False),
    Op.SUBSCRIBE: OpSpec(Settings, Subscribed, on_user=True),
    Op.UNSUBSCRIBE: OpSpec(Nothing, Nothing, on_user=True),
    Op.PUBLISH: OpSpec(Publish, Published),
    Op.PUBLISH_APART: OpSpec(PublishApart, PublishedApart),
    Op.TAKE: OpSpec(Take, Message, on_user=True),
    Op.FETCH: OpSpec(Fetch, Batch, on_user=True),
    Op.LOOK: OpSpec(Nothing, Status, on_user=True),
    Op.WAIT: OpSpec(Wait, WaitResult, on_user=True),
    Op.SKIP: OpSpec(Nothing, Nothing, on_user=True),
    Op.CANCEL: OpSpec(Cancel, Nothing, on_user=True),
    Op.STREAM: OpSpec(OpenStream, StreamOpened, on_user=True),
    Op.CONFIRM: OpSpec(Confirm, Confirmed, on_user=True),
    Op.CONFIGURE: OpSpec(Settings, Nothing, on_user=True),
    Op.FINISH: OpSpec(Finish, Finished, on_user=True),
    Op.EXTEND: OpSpec(Extend, Nothing, on_user=True),
    Op.DEAD_LIST: OpSpec(ListDead, DeadLetters, on_user=True),
    Op.DEAD_RETURN: OpSpec(Nothing, Counted, on_user=True),
    Op.DEAD_CLEAR: OpSpec(Nothing, Counted, on_user=True),
    Op.TOPICS: OpSpec(ListTopics, TopicPage, on_topic=False),
    Op.TOPIC: OpSpec(DescribeTopic, TopicInfo),
    Op.TOPIC_CHANGE: OpSpec(ChangeTopic, Nothing),
    Op.TOPIC_END: OpSpec(EndTopic, Ended),
    Op.USERS: OpSpec(ListUsers, UserPage),
    Op.USER: OpSpec(Nothing, UserRow, on_user=True),
    Op.PEEK: OpSpec(Peek, PeekedAll, on_user=True),
    Op.PURGE: OpSpec(Nothing, Counted, on_user=True),
    Op.PAUSE: OpSpec(Pause, Nothing, on_topic=False),
    Op.DELAYED_TOPICS: OpSpec(ListDelayedTopics, DelayedTopicPage, on_topic=False),
    Op.DELAYED: OpSpec(ListDelayed, DelayedPage),
    Op.DELAYED_END: OpSpec(EndDelayed, Counted),
    Op.DELAYED_CLEAR: OpSpec(ClearDelayed, Ended),
    Op.MOVE: OpSpec(moves.MoveSlot, moves.MoveRow, on_topic=False),
    Op.MOVE_ABORT: OpSpec(moves.AbortMove, moves.MoveRow, on_topic=False),
    Op.SLOTS: OpSpec(moves.ListSlots, moves.SlotTable, on_topic=False),
    Op.CLAIM: OpSpec(moves.ClaimSlots, moves.SlotTable, on_topic=False),
    Op.OFFER: OpSpec(moves.OfferSlot, Nothing, on_topic=False),
    Op.ADOPT: OpSpec(moves.Adopt, moves.Adopted, on_topic=False),
    Op.MOVE_ASK: OpSpec(moves.AskMove, moves.MoveOutcome, on_topic=False),
    Op.MOVES_PAUSE: OpSpec(moves.PauseMoves, Nothing, on_topic=False),
    Op.SLOTS_DROP: OpSpec(moves.DropSlots, Nothing, on_topic=False),
}
