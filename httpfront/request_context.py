"""What belongs to the request being worked on, wherever its code is called: context variables.

Every greenlet has a context of its own (greenlet's `gr_context`), and the hub empties it between two requests.
"""

from __future__ import annotations

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Id of the HTTP request, under which brokers log what is asked of them; "" outside of a request."""
