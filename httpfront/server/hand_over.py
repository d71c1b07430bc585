"""A connection in other hands: the application has opened a stream, or accepted a WebSocket handshake."""

from __future__ import annotations

from httpfront.budget import Account
from httpfront.environ import KEY_ID, REQUEST_ID, ROUTE, SESSION, STREAM, TRACE_ID
from httpfront.server.client_socket import ClientSocket
from httpfront.server.parser import RequestParser
from httpfront.server.response import FrontTask
from httpfront.server.session_connection import SessionConnection
from httpfront.server.stream_connection import StreamConnection
from httpfront.server.websocket_frames import FrameReader

REPORTED = (ROUTE, REQUEST_ID, KEY_ID, TRACE_ID)
"""What is kept of the environment of a request, for its report."""


def hand_over(connection: ClientSocket, account: Account, parser: RequestParser, task: FrontTask, data: bytes) -> bool:
    """Let a stream or a session have the connection; return False where the application has opened none.

    `data` came behind the request.
    """
    if STREAM not in task.environ and SESSION not in task.environ:
        return False
    server, version = connection.server, parser.version
    about = {name: task.environ.get(name, "") for name in REPORTED}
    if STREAM in task.environ:
        chunked = version != "1.0"
        head = task.stream_head(chunked=chunked)
        stream = StreamConnection(server, connection.give_away(), connection.addr, account, chunked=chunked)
        server.take_stream(stream)
        stream.begin(head, about, task.environ[STREAM])
    else:
        head, (begin, limit) = task.switching_head(), task.environ[SESSION]
        session = SessionConnection(server, connection.give_away(), connection.addr, account, FrameReader(limit))
        server.take_stream(session)
        session.begin(head, about, begin, data)
    return True
