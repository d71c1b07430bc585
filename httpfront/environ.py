"""What this server puts into the WSGI environment of a request, by its keys."""

from __future__ import annotations

from collections.abc import Callable

ROUTE = "fanmail.route"
"""Template of the route, never a name; `NO_ROUTE` where none was found."""
NO_ROUTE = "none"
REQUEST_ID = "fanmail.request_id"
"""Id of the request in logs and in its answer."""
TRACE_ID = "fanmail.trace_id"
"""Id of the trace that the client's `traceparent` names; "" where that is malformed."""
KEY_ID = "fanmail.key"
"""Id of the API key that the client has proved."""
API_KEY = "fanmail.api_key"
"""The `ApiKey` itself."""
ANONYMOUS = "fanmail.anonymous"
"""True where keys are required and the client has none in force."""
KEPT = "fanmail.kept"
"""Header fields that are stored with a message: a tuple of (name in lower case, value)."""
ACCOUNT = "fanmail.account"
"""The `Account` of the connection (`budget.py`)."""
ON_DISCONNECT = "fanmail.on_disconnect"
"""A `OnDisconnect`."""
STREAM = "fanmail.stream"
"""Set by the application: a `BeginStream` (`outlet.py`), in place of a body."""
SESSION = "fanmail.session"
"""Set by the application that accepts a WebSocket handshake: a `BeginSession` (`outlet.py`), and the bytes that a
message of the client may have."""
KEY_IN_FORCE = "fanmail.key_in_force"
"""Returns what an `ApiKey` has become: the key as it is now, None where it is not in force any more."""

OnDisconnect = Callable[[Callable[[], None] | None], None]
"""Sets what is called when the client disconnects; None for nothing."""


def unwatched(callback: Callable[[], None] | None) -> None:
    """Do nothing: the `OnDisconnect` of a client that is not watched."""
