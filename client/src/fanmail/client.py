"""The client for ordinary code. `fanmail.aio` has the same for asyncio."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Unpack

from fanmail.base_client import SyncBaseClient
from fanmail.consumer import ReadOptions, read_messages
from fanmail.deprecation import former_names
from fanmail.fork_safety import process_id
from fanmail.message import Message, Worked
from fanmail.methods import Methods
from fanmail.worker import DEFAULT_LEASE_S, WorkOptions, extend_lease, run_worker


class _Stopped(Exception):
    """The handler has ended, and with it the extension of the lease."""


class Client(Methods, SyncBaseClient):
    """A client of one cluster.

    Threads may share it, and so may forked processes, which open connections of their own. Use it in a `with`
    statement, or close it. Its methods are the functions of `fanmail.calls`, and those below. The constructor raises
    ValueError for a malformed base URL or API key.

    Args:
        urls: One or several base URLs of fronts or proxies; by default `FANMAIL_URL`, or the first front of
            `bin/quickstart`. The first one that works is used until it fails.
        api_key: By default `FANMAIL_API_KEY`, or the first line of the file that `FANMAIL_API_KEY_FILE` names; "" for
            none. It is sent to the base URLs only, as redirects are not followed.
        retries: The rules of retries.
        timeout: Seconds for one try; must exceed the server's `broker_timeout`.
        headers: Headers that are sent with every request.

    >>> with Client(url) as example:
    ...     example.subscribe("letters", "ann")
    ...     example.publish("letters", b"hello").subscribers
    ...     example.receive("letters", "ann").body
    True
    1
    b'hello'
    """

    def messages(self, topic: str, user: str, **options: Unpack[ReadOptions]) -> Iterator[Message]:
        """Yield every message of a user, in order and **at least once**, endlessly or until none waits.

        A message is acknowledged when the next one is asked for, so one whose handling was interrupted is delivered
        again. To stop within the loop and acknowledge what was handled, call `advance(topic, user, message.id)`. In a
        child of the process that began the loop, it raises RuntimeError and acknowledges nothing.

        Raises `NoSubscription`, also when the subscription ends during the loop: a broker without a store that was
        restarted has lost the subscription and its messages. Raises `CursorLost` for an id of an earlier life of the
        topic, and `LeasesOut` if workers lease messages of the same user.

        Args:
            topic: The topic.
            user: The user.
            **options: after: Where to begin; "0" (the default) continues where the user stands, a message id after
                that message. batch: Messages per fetch (1); they are acknowledged together, so a larger number means
                fewer requests, but more repeats after a crash. wait: Seconds of a long poll (20, or 0 with
                `until_empty`). until_empty: Whether to stop when no message waits.

        >>> for message in client.messages("news", "alice", batch=500, until_empty=True):
        ...     last = message.text
        >>> last
        'line 999'
        """
        return self._emitted(read_messages(self._exchange, topic, user, options))

    @former_names(most="limit", most_delay="max_delay")
    def work(
        self, topic: str, user: str, handle: Callable[[Message], object], **options: Unpack[WorkOptions]
    ) -> Worked:
        """Lease messages one by one and call `handle` with each. Several workers may share a user.

        When `handle` returns, the message is acknowledged. When it raises an exception, the message is given back and
        redelivered later; other messages pass it meanwhile. An interruption, such as KeyboardInterrupt, is raised again
        after the message was given back. Another thread extends the lease while `handle` runs.

        Delivery is at least once: a message whose worker vanished or lost its lease is delivered to another worker. A
        message whose handler always fails is redelivered endlessly unless the subscription has `max_deliveries`. A
        child that the handler forks and that returns from the handler acknowledges and gives back nothing: it raises
        what the handler raised in it, or RuntimeError. Raises the errors of `fetch`.

        Args:
            topic: The topic.
            user: The user.
            handle: The handler.
            **options: lease: Seconds (30); it is extended, so it need only cover a crash. delay: Seconds before the
                first redelivery (1), doubled with each further attempt. max_delay: Upper limit of the delay (60).
                failed: Called as `failed(message, error)`; may return another delay. limit: Stop after this many
                messages. wait: Seconds of a long poll (20, or 0 with `until_empty`). until_empty: Whether to stop when
                no message waits, apart from delayed ones. stopped: Called between messages; stop when it returns true.
                Deprecated: `most` and `most_delay` are former names of `limit` and `max_delay`.

        >>> client.publish("jobs", "first").subscribers, client.subscribe("jobs", "crew")
        (0, True)
        >>> client.publish("jobs", "second").subscribers
        1
        >>> client.work("jobs", "crew", lambda message: print(message.text), until_empty=True)
        second
        Worked(done=1, failed=0, lost=0)
        """
        lease = options.get("lease", DEFAULT_LEASE_S)
        flow = run_worker(self._exchange, topic, user, options)
        return self._run(flow, lambda message: self._handled(message, handle, lease))

    def _handled(self, message: Message, handle: Callable[[Message], object], lease: float) -> BaseException | None:
        """Call the handler while the lease is extended. Return what it raised, else None."""
        try:
            with self._extended(message, lease):
                handle(message)
        except BaseException as error:
            return error
        return None

    @contextmanager
    def _extended(self, message: Message, lease: float) -> Iterator[None]:
        """Extend a lease within the context."""
        ended, owner = threading.Event(), process_id()

        def pause(seconds: float) -> None:
            if ended.wait(seconds):
                raise _Stopped

        def extend() -> None:
            with suppress(_Stopped):
                self._run(extend_lease(self._exchange, message, lease), pause=pause)

        thread = threading.Thread(target=extend, name="fanmail-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            if process_id() == owner:  # a child of the handler lacks the thread, and the event's lock may be taken
                ended.set()
                thread.join()
