"""Sessions: many mailboxes and many publishes in flight over one WebSocket.

In reading order: `ops` has the operations, `pending` one of them until its result is known, `reads` the mailboxes that
are read, `state` all of them and what a lost connection means. None of these does I/O. `connection` is a WebSocket of
the package `websockets`, `engine` the loop that keeps one open, `room` the limit of what is in flight, and `sync` and
`aio` are the public classes.
"""
