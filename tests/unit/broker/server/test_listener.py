"""What a broker takes in of a message."""

from __future__ import annotations

import zmq

from broker.server.listener import MOST_PARTS, Listener
from tests.e2e.cluster import short_folder, wait_for


def test_of_a_message_of_many_parts_no_more_is_kept_than_is_needed_to_refuse_it() -> None:
    folder = short_folder()
    listener = Listener(2**20, None, {})
    listener.bind(f"ipc://{folder}/b0.sock")
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    front = context.socket(zmq.DEALER)
    front.connect(f"ipc://{folder}/b0.sock")
    front.send_multipart([b"x"] * 1000)
    front.send(b"next")
    wait_for(lambda: listener.turn() or listener.socket.poll(0), "the message")
    many = listener.receive()
    assert many is not None
    assert len(many) == MOST_PARTS + 1
    wait_for(lambda: listener.socket.poll(0), "the next one")
    assert (listener.receive() or [])[1:] == [b"next"]
    context.destroy(linger=0)
    listener.close()
    folder.rmdir()
