"""A front's socket to one broker, without a broker."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from common.cluster.slots import BrokerAddress
from common.protocol import ops, wire
from common.protocol.ops import Op
from httpfront.gateway.broker_socket import BrokerSocket, new_context
from httpfront.gateway.broker_status import BrokerStatus
from httpfront.gateway.call import Answer, Call
from httpfront.hub import Hub


def test_every_wait_ends_where_a_greenlet_ends_them(tmp_path: Path) -> None:
    """As when another candidate becomes the owner: each one that waits may park again."""
    hub, context = Hub(), new_context()
    address = BrokerAddress("b0", f"ipc://{tmp_path}/nobody")
    socket = BrokerSocket(hub, context, BrokerStatus("fanmail", "b0"), address, None)
    ended: list[object] = []

    def wait(number: int) -> None:
        packed = wire.pack_request(number, Op.WAIT, b"t", b"u", 0, ops.Wait(0))
        call = Call(number, packed, None, 2.0**60, 1, 0)
        call.waits = True
        socket.outgoing.append(call)
        answer = hub.park()
        assert isinstance(answer, Answer)
        ended.append(answer.error)
        hub.yield_turn()

    for number in (16, 17, 18):
        hub.spawn(partial(wait, number))
    hub.spawn(socket.end_waits)
    turns: list[None] = []
    hub.each_turn(lambda: turns.append(None))
    hub.run(lambda: len(ended) == 3 or len(turns) > 20)
    socket.close("the test is over")
    context.term()
    hub.close()
    assert ended == [None] * 3
