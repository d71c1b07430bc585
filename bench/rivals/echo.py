"""`python -m bench.rivals.echo ENDPOINT`: a ROUTER that decodes every request and answers nil.

It speaks the same protocol without state or checks: the minimum cost of a broker of this design.
"""

from __future__ import annotations

import sys
from collections import defaultdict

import zmq

from common.process.readiness import die_with_parent
from common.protocol import wire

BURST = 256


def main() -> None:
    """Serve until SIGTERM."""
    die_with_parent()
    router: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
    router.setsockopt(zmq.ROUTER_MANDATORY, 1)
    router.bind(sys.argv[1])
    while True:
        router.poll()
        for peer, replies in _answered(router).items():
            for start in range(0, len(replies), wire.MAX_REQUESTS):
                router.send_multipart([peer, wire.pack_replies(1, 1, 1, 1, replies[start : start + wire.MAX_REQUESTS])])


def _answered(router: zmq.Socket[bytes]) -> dict[bytes, list[bytes]]:
    """Return the replies to all pending requests, by peer."""
    replies: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for _ in range(BURST):
        try:
            peer, *frames = router.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            break
        for request in wire.unpack_requests(frames).requests:
            wire.unpack_args(request)
            replies[peer].append(wire.pack_reply(request.id, None))
    return replies


if __name__ == "__main__":
    main()
