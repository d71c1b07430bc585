"""The client for ordinary code. `fanmail.aio` has the same for asyncio."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Unpack

from fanmail.base_client import SyncBaseClient
from fanmail.consumer import ReadOptions, read_messages
from fanmail.deprecation import former_names
from fanmail.flow import Flow
from fanmail.fork_safety import process_id
from fanmail.message import Message, Worked
from fanmail.methods import Methods
from fanmail.retry import ONCE
from fanmail.session.room import DEFAULT_IN_FLIGHT
from fanmail.session.sync import Session
from fanmail.streaming import Progress, StreamOptions, confirm_handled, confirm_regularly, stream_messages
from fanmail.worker import DEFAULT_LEASE_S, WorkOptions, extend_lease, run_worker


class _Stopped(Exception):
    """What a flow runs beside has ended."""


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
            **options: after: Where to begin; "0" (the default) continues at the position of the user, a message id
                after that message. batch: Messages per fetch (1); they are acknowledged together, so a larger number
                means fewer requests, but more repeats after a crash. wait: Seconds of a long poll (20, or 0 with
                `until_empty`). until_empty: Whether to stop when no message waits.

        >>> for message in client.messages("news", "alice", batch=500, until_empty=True):
        ...     last = message.text
        >>> last
        'line 999'
        """
        return self._emitted(read_messages(self._exchange, topic, user, options))

    def stream(self, topic: str, user: str, **options: Unpack[StreamOptions]) -> Generator[Message, None, None]:
        """Yield every message of a user as it arrives, in order and **at least once**, endlessly.

        One open response brings all messages, so there is no request per message, and none waits for a poll. A message
        is handled when the next one is asked for; what is handled is acknowledged once per second by another thread,
        and once more when the generator is closed, which should be before the client is closed. To acknowledge the
        message at which a loop stops, call `advance(topic, user, message.id)`. After a failure, or when the server
        stops, another stream begins after the last message that was handled. Raises what `messages` raises, and
        RuntimeError in a child process.

        Args:
            topic: The topic.
            user: The user.
            **options: after: Where to begin; "0" (the default) continues at the position of the user, a message id
                after that message. on_gap: Called with a `Gap` for messages that are not delivered, because they were
                acknowledged elsewhere or dropped; by default a warning is logged.

        >>> client.subscribe("alerts", "bea"), client.publish("alerts", "disk full").subscribers
        (True, 1)
        >>> for message in client.stream("alerts", "bea"):
        ...     print(message.text)
        ...     break
        disk full
        """
        progress, owner = Progress(), process_id()
        emitted = self._emitted(stream_messages(self._exchange, topic, user, options, progress))
        try:
            with self._beside(confirm_regularly(self._exchange, topic, user, progress), "fanmail-confirm"):
                yield from emitted
        finally:
            if process_id() == owner:
                emitted.close()
                if not self._connections.closed:
                    once = replace(self._exchange, retries=ONCE)  # whoever leaves a loop does not wait for long
                    self._run(confirm_handled(once, topic, user, progress))

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

    def session(self, *, in_flight: int = DEFAULT_IN_FLIGHT) -> Session:
        """Return a session: one WebSocket for many mailboxes and many publishes in flight.

        It connects when it is first used, with the base URLs, key and retries of this client, and is closed on its own.
        Raises ImportError without the package `websockets`, which `pip install 'fanmail[session]'` installs.

        Args:
            in_flight: How many operations may be without an answer before `publish_soon` waits.

        >>> with client.session() as example:
        ...     example.publish_soon("nobody-listens", "one").result().subscribers
        0
        """
        if self._connections.closed:
            raise RuntimeError("the client is closed")
        return Session(self._exchange, self._text_headers(), in_flight)

    def _handled(self, message: Message, handle: Callable[[Message], object], lease: float) -> BaseException | None:
        """Call the handler while the lease is extended. Return what it raised, else None."""
        try:
            with self._beside(extend_lease(self._exchange, message, lease), "fanmail-lease"):
                handle(message)
        except BaseException as error:
            return error
        return None

    @contextmanager
    def _beside(self, flow: Flow[None], thread_name: str) -> Iterator[None]:
        """Run a flow in a thread of its own within the context. It ends at its next pause."""
        ended, owner = threading.Event(), process_id()

        def pause(seconds: float) -> None:
            if ended.wait(seconds):
                raise _Stopped

        def run() -> None:
            try:
                self._run(flow, pause=pause)
            except _Stopped:
                pass
            except RuntimeError:
                if not self._connections.closed:  # else the loop fails for that reason, too, and says so
                    raise

        thread = threading.Thread(target=run, name=thread_name, daemon=True)
        thread.start()
        try:
            yield
        finally:
            if process_id() == owner:  # a child lacks the thread, and the event's lock may be taken
                ended.set()
                thread.join()
