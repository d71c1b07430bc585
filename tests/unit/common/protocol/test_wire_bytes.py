"""The wire, version 1, byte for byte: a change here is a new version, or cuts running neighbours off."""

from __future__ import annotations

from common.protocol import move_ops, ops, wire
from common.protocol.ops import Op
from tests.support.driver import NOTHING, apart
from tests.support.table import table

INCARNATION = 2**40 + 5

request, reply, error = wire.pack_request, wire.pack_reply, wire.pack_error
MESSAGE = ops.Message("0badcafe1", 9, 1_700_000_000_000, 1, 2, b"\x91", b"body")
RECEIPT = ops.Receipt("0badcafe1", 9, 2)
SLOTS = move_ops.SlotTable(
    *("b0", "serving", 1, "d1", 2, [move_ops.SlotRun(0, 9, 1)], [move_ops.SlotPointer(17, "b1", 2)], []),
    sizes=[move_ops.SlotSize(3, 1, 2, 300)],
)

GOLDEN_REQUESTS: dict[str, tuple[list[bytes], str]] = {
    "ping": (
        [request(0, Op.PING, b"", b"", 0, ops.Ping("fanmail", "b0"))],
        "9401cf00000100000000050791960001c400c4000092a766616e6d61696ca26230",
    ),
    "goodbye": (
        [request(1, Op.GOODBYE, b"", b"", 0, NOTHING)],
        "9401cf00000100000000050791960102c400c4000090",
    ),
    "stats": (
        [request(16, Op.STATS, b"", b"", 1000, NOTHING)],
        "9401cf00000100000000050791961003c400c400cd03e890",
    ),
    "three together": (
        [
            request(16, Op.SUBSCRIBE, b"t\xc3\xbc", b"u", 1000, NOTHING),
            request(17, Op.UNSUBSCRIBE, b"t", b"u", 1001, NOTHING),
            request(18, Op.TAKE, b"t", b"u", 2**33, NOTHING),
        ],
        "9401cf0000010000000005079396100ac40374c3bcc40175cd03e89096110bc40174c40175cd03e990"
        "96120dc40174c40175cf000000020000000090",
    ),
    "publish": (
        [request(19, Op.PUBLISH, b"t", b"", 1000, ops.Publish(b"\x91", b"body"))],
        "9401cf0000010000000005079196130cc40174c400cd03e898c40191c404626f647901c4000000c400c400",
    ),
    "take, plain and after": (
        [
            request(20, Op.TAKE, b"t", b"u", 1000, ops.Take()),
            request(21, Op.TAKE, b"t", b"u", 1000, ops.Take(True, "0badcafe1", 9)),
        ],
        "9401cf0000010000000005079296140dc40174c40175cd03e895c2a000000096150dc40174c40175cd03e895c3a9306261646361666531090000",
    ),
    "look, wait, wait again, pass on": (
        [
            request(22, Op.LOOK, b"t", b"u", 1000, NOTHING),
            request(23, Op.WAIT, b"t", b"u", 2**33, ops.Wait()),
            request(24, Op.WAIT, b"t", b"u", 2**33, ops.Wait(300)),
            request(25, Op.SKIP, b"t", b"u", 1000, NOTHING),
        ],
        "9401cf0000010000000005079496160ec40174c40175cd03e89096170fc40174c40175cf0000000200000000940000a00096"
        "180fc40174c40175cf000000020000000094cd012c00a000961910c40174c40175cd03e890",
    ),
    "fetch": (
        [
            request(26, Op.FETCH, b"t", b"u", 1000, ops.Fetch(True, "0badcafe1", 9, 1000, 2**23, True)),
        ],
        "9401cf00000100000000050791961a11c40174c40175cd03e899c3a930626164636166653109cd03e8ce00800000c3000000",
    ),
    "publish a batch": (
        [
            request(27, Op.PUBLISH, b"t", b"", 1000, ops.Publish(b"", b"\0\0\0\1x", 1, b"\0\0\0\0\5\0\0\0")),
        ],
        "9401cf00000100000000050791961b0cc40174c400cd03e898c400c405000000017801c40800000000050000000000c400c400",
    ),
    "publish with ttl, delay and key": (
        [
            request(
                28,
                Op.PUBLISH,
                b"t",
                b"",
                1000,
                ops.Publish(b"", b"x", 1, b"", 60_000, 5_000, b"key", b"0123456789abcdef"),
            ),
        ],
        "9401cf00000100000000050791961c0cc40174c400cd03e898c400c4017801c400cdea60cd1388c4036b6579c4103031"
        "3233343536373839616263646566",
    ),
    "publish messages apart, without keys and with one": (
        [
            request(27, Op.PUBLISH_APART, b"t", b"", 1000, apart(b"x")),
            request(28, Op.PUBLISH_APART, b"t", b"", 1000, apart(b"x", b"y", ttl=60_000, keys=[b"", b"key"])),
        ],
        "9401cf00000100000000050792961b1bc40174c400cd03e897c400c405000000017801c4080000000005000000009090961c"
        "1bc40174c400cd03e897c400c40a0000000178000000017902c40c00000000050000000a000000cdea6092c400c4036b6579"
        "92c40178c40179",
    ),
    "take and fetch with a lease": (
        [
            request(29, Op.TAKE, b"t", b"u", 1000, ops.Take(lease=30_000_000)),
            request(30, Op.FETCH, b"t", b"u", 1000, ops.Fetch(False, "", 0, 5, 1000, False, 30_000_000)),
        ],
        "9401cf00000100000000050792961d0dc40174c40175cd03e895c2a000ce01c9c38000961e11c40174c40175cd03e899c2a0"
        "0005cd03e8c2ce01c9c3800000",
    ),
    "subscribe with settings, configure": (
        [
            request(31, Op.SUBSCRIBE, b"t", b"u", 1000, ops.Settings(60_000_000, 5)),
            request(32, Op.CONFIGURE, b"t", b"u", 1000, ops.Settings(max_deliveries=0)),
        ],
        "9401cf00000100000000050792961f0ac40174c40175cd03e892ce0393870005962012c40174c40175cd03e892c000",
    ),
    "finish, extend, give back": (
        [
            request(33, Op.FINISH, b"t", b"u", 1000, ops.Finish([RECEIPT, RECEIPT])),
            request(34, Op.EXTEND, b"t", b"u", 1000, ops.Extend(RECEIPT, 30_000_000)),
            request(35, Op.EXTEND, b"t", b"u", 1000, ops.Extend(RECEIPT, 0, 5_000_000)),
        ],
        "9401cf00000100000000050793962113c40174c40175cd03e8919293a9306261646361666531090293a9306261646361"
        "6665310902962214c40174c40175cd03e89393a93062616463616665310902ce01c9c38000962314c40174c40175cd03"
        "e89393a9306261646361666531090200ce004c4b40",
    ),
    "list, return and clear the dead": (
        [
            request(36, Op.DEAD_LIST, b"t", b"u", 1000, ops.ListDead(9, 1000, 2**23)),
            request(37, Op.DEAD_RETURN, b"t", b"u", 1000, NOTHING),
            request(38, Op.DEAD_CLEAR, b"t", b"u", 1000, NOTHING),
        ],
        "9401cf00000100000000050793962415c40174c40175cd03e89309cd03e8ce00800000962516c40174c40175cd03e890"
        "962617c40174c40175cd03e890",
    ),
    "cancel": (
        [
            request(39, Op.CANCEL, b"t", b"u", 1000, ops.Cancel(23)),
        ],
        "9401cf00000100000000050791962718c40174c40175cd03e8921700",
    ),
    "move, end a move, list slots, claim": (
        [
            request(40, Op.MOVE, b"", b"", 0, move_ops.MoveSlot(17, "b1")),
            request(41, Op.MOVE_ABORT, b"", b"", 0, move_ops.AbortMove(17)),
            request(42, Op.SLOTS, b"", b"", 0, move_ops.ListSlots()),
            request(43, Op.CLAIM, b"", b"", 0, move_ops.ClaimSlots([17, 1023], 3)),
        ],
        "9401cf00000100000000050794962832c400c400009211a26231962933c400c400009111962a34c400c4000091ff962b35c4"
        "00c40000929211cd03ff03",
    ),
    "pause moves": (
        [
            request(47, Op.MOVES_PAUSE, b"", b"", 0, move_ops.PauseMoves(True)),
            request(48, Op.SLOTS_DROP, b"", b"", 0, move_ops.DropSlots([17])),
        ],
        "9401cf00000100000000050792962f39c400c4000091c396303ac400c40000919111",
    ),
    "offer, hand over, ask": (
        [
            request(44, Op.OFFER, b"", b"", 0, move_ops.OfferSlot("b0", 17, 1, 2, 3, 4, 500, 600, 70, 80)),
            request(45, Op.ADOPT, b"", b"", 0, move_ops.Adopt("b0", 17, 1, 9, 1, True, 1000, 2000, b"\x90")),
            request(46, Op.MOVE_ASK, b"", b"", 0, move_ops.AskMove("b0", 17, 1, 9)),
        ],
        "9401cf00000100000000050793962c36c400c400009aa262301101020304cd01f4cd02584650962d37c400c4000099a2623011"
        "010901c3cd03e8cd07d0c40190962e38c400c4000094a26230110109",
    ),
}
GOLDEN_REPLIES: dict[str, tuple[list[bytes], str]] = {
    "no reply, only what every frame carries": ([], "9601cf0000010000000005ce075bcd15010790"),
    "pong": (
        [reply(0, ops.Pong("fanmail", "b0"))],
        "9601cf0000010000000005ce075bcd150107919300a097a766616e6d61696ca26230000000c200",
    ),
    "goodbye and stats": (
        [reply(1, NOTHING), reply(16, ops.Stats({"topics": 3}))],
        "9601cf0000010000000005ce075bcd150107929301a0909310a09181a6746f7069637303",
    ),
    "subscribed, subscribed already, nothing there": (
        [reply(16, ops.Subscribed(True)), reply(17, ops.Subscribed(False)), reply(18, None)],
        "9601cf0000010000000005ce075bcd150107939310a091c39311a091c29312a0c0",
    ),
    "published": (
        [reply(19, ops.Published(3, "0badcafe1", 9))],
        "9601cf0000010000000005ce075bcd150107919313a09503a93062616463616665310900c2",
    ),
    "message": (
        [reply(20, MESSAGE)],
        "9601cf0000010000000005ce075bcd150107919314a097a930626164636166653109cf0000018bcfe568000102c40191c404626f6479",
    ),
    "error": (
        [error(21, "no-subscription", "why")],
        "9601cf0000010000000005ce075bcd150107919315af6e6f2d737562736372697074696f6ea3776879",
    ),
    "status, look now, nothing": (
        [
            reply(22, ops.Status(3, "0badcafe1", 9)),
            reply(23, ops.WaitResult(True, 300)),
            reply(24, ops.WaitResult(False, 0)),
        ],
        "9601cf0000010000000005ce075bcd150107939316a09503a93062616463616665310900009317a092c3cd012c9318a092c200",
    ),
    "batch": (
        [
            reply(26, ops.Batch("0badcafe1", 2, [ops.Run(9, 1, 1_700_000_000_000, b"\x91", b"\0\0\0\1x")])),
        ],
        "9601cf0000010000000005ce075bcd15010791931aa094a93062616463616665310291960901cf0000018bcfe56800c40191"
        "c40500000001780100",
    ),
    "error with a field": (
        [
            error(21, "cursor-lost", "why", {"oldest": "0badcafe1-9"}),
        ],
        "9601cf0000010000000005ce075bcd150107919315ab637572736f722d6c6f737492a377687981a66f6c64657374ab30"
        "62616463616665312d39",
    ),
    "published later, published before": (
        [
            reply(28, ops.Published(0, "", 0, 1_700_000_005_000)),
            reply(28, ops.Published(3, "0badcafe1", 9, 0, True)),
        ],
        "9601cf0000010000000005ce075bcd15010792931ca09500a000cf0000018bcfe57b88c2931ca09503a93062616463616665310900c3",
    ),
    "published apart, and what was refused or known": (
        [
            reply(27, ops.PublishedApart(3, "0badcafe1", 9)),
            reply(28, ops.PublishedApart(3, "0badcafe1", 9, [(1, "topic-full", "why")], [(2, 3, 8)])),
        ],
        "9601cf0000010000000005ce075bcd15010792931ba09503a9306261646361666531099090931ca09503a930626164636166"
        "653109919301aa746f7069632d66756c6ca37768799193020308",
    ),
    "batch of one handed out again": (
        [
            reply(30, ops.Batch("0badcafe1", 0, [ops.Run(9, 1, 1_700_000_000_000, b"", b"\0\0\0\0", 2)])),
        ],
        "9601cf0000010000000005ce075bcd15010791931ea094a93062616463616665310091960901cf0000018bcfe56800c400c4"
        "04000000000200",
    ),
    "status with leased and dead": (
        [
            reply(31, ops.Status(3, "0badcafe1", 9, 2, 1)),
        ],
        "9601cf0000010000000005ce075bcd15010791931fa09503a9306261646361666531090201",
    ),
    "finished, counted": (
        [
            reply(33, ops.Finished(["", "lease-lost"])),
            reply(37, ops.Counted(2)),
        ],
        "9601cf0000010000000005ce075bcd150107929321a09192a0aa6c656173652d6c6f73749325a09102",
    ),
    "dead letters": (
        [
            reply(36, ops.DeadLetters("0badcafe1", 1, [ops.DeadLetter(9, 1_700_000_000_000, 5, b"\x91", b"body")])),
        ],
        "9601cf0000010000000005ce075bcd150107919324a093a930626164636166653101919609cf0000018bcfe5680005c4"
        "0191c404626f6479c2",
    ),
    "a slot on the move, slots, a part, an outcome": (
        [
            reply(40, move_ops.MoveRow(17, "b1", "b0", 9, "leaving", 5, 600)),
            reply(42, SLOTS),
            reply(45, move_ops.Adopted(1, 2)),
            reply(46, move_ops.MoveOutcome(True, 2, "b1")),
        ],
        "9601cf0000010000000005ce075bcd150107949328a09811a26231a2623009a76c656176696e6705cd0258a0932aa09ca262"
        "30a773657276696e6701a26431029193000901919311a2623102909194030102cd012ccd0400c290932da0920102932ea093"
        "c302a26231",
    ),
}


@table("name", GOLDEN_REQUESTS)
def test_request_frames_have_these_bytes(name: str) -> None:
    packed, expected = GOLDEN_REQUESTS[name]
    frame = wire.pack_requests(INCARNATION, 7, packed)
    assert frame.hex() == expected
    seen = wire.unpack_requests([frame])
    assert (seen.version, seen.incarnation, seen.map_epoch) == (1, INCARNATION, 7)
    assert len(seen.requests) == len(packed)


@table("name", GOLDEN_REPLIES)
def test_reply_frames_have_these_bytes(name: str) -> None:
    packed, expected = GOLDEN_REPLIES[name]
    frame = wire.pack_replies(INCARNATION, 123_456_789, 1, 7, packed)
    assert frame.hex() == expected
    seen = wire.unpack_replies([frame])
    assert (seen.version, seen.incarnation, seen.clock, seen.state, seen.map_epoch) == (
        1,
        INCARNATION,
        123_456_789,
        1,
        7,
    )
    assert len(seen.replies) == len(packed)


def test_numbers_of_operations_and_states_are_never_given_out_again() -> None:
    assert {op.name: int(op) for op in Op} == {
        "PING": 1,
        "GOODBYE": 2,
        "STATS": 3,
        "BACKUP": 4,
        "BACKUP_READ": 5,
        "REPLICA": 6,
        "HAND_OVER": 7,
        "SUBSCRIBE": 10,
        "UNSUBSCRIBE": 11,
        "PUBLISH": 12,
        "TAKE": 13,
        "LOOK": 14,
        "WAIT": 15,
        "SKIP": 16,
        "FETCH": 17,
        "CONFIGURE": 18,
        "FINISH": 19,
        "EXTEND": 20,
        "DEAD_LIST": 21,
        "DEAD_RETURN": 22,
        "DEAD_CLEAR": 23,
        "CANCEL": 24,
        "STREAM": 25,
        "CONFIRM": 26,
        "PUBLISH_APART": 27,
        "TOPICS": 30,
        "TOPIC": 31,
        "TOPIC_CHANGE": 32,
        "TOPIC_END": 33,
        "USERS": 34,
        "USER": 35,
        "PEEK": 36,
        "PURGE": 37,
        "PAUSE": 38,
        "DELAYED_TOPICS": 39,
        "DELAYED": 40,
        "DELAYED_END": 41,
        "DELAYED_CLEAR": 42,
        "MOVE": 50,
        "MOVE_ABORT": 51,
        "SLOTS": 52,
        "CLAIM": 53,
        "OFFER": 54,
        "ADOPT": 55,
        "MOVE_ASK": 56,
        "MOVES_PAUSE": 57,
        "SLOTS_DROP": 58,
    }
    assert [(state.name, int(state)) for state in wire.BrokerState] == [
        ("LOADING", 0),
        ("READY", 1),
        ("DRAINING", 2),
        ("STANDBY", 3),
    ]
