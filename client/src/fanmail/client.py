"""The client for ordinary code; `fanmail.aio` has the same for asyncio."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Unpack

from fanmail.driving import SyncDriver
from fanmail.forking import process_id
from fanmail.loops import DEFAULT_LEASE, ReadOptions, WorkOptions, extending, reading, working
from fanmail.message import Message, Worked
from fanmail.methods import Methods


class _Stopped(Exception):
    """A flow of another thread is not wanted any more."""


class Client(Methods, SyncDriver):
    """A client of one cluster. Threads may share it, and processes that are forked: they have connections of their
    own. Use it in a `with`, or close it.

    `urls`: base URLs, one or several, of fronts or proxies; by default `FANMAIL_URL`, or the quickstart's first front.
    The first that works is used until it does not. `api_key`: by default `FANMAIL_API_KEY`, or the first line of the
    file that `FANMAIL_API_KEY_FILE` names; "" for none. It goes to the base URLs and nowhere else: no redirect is
    followed. `timeout`: seconds for one try, more than the server's `broker_timeout`. `headers` go with every request.
    Raises ValueError for a base URL or a key that cannot be one.

    Its methods are the functions of `fanmail.calls`, and these:

    >>> with Client(url) as mine:
    ...     mine.subscribe("letters", "ann")
    ...     mine.publish("letters", b"hello").subscribers
    ...     mine.receive("letters", "ann").body
    True
    1
    b'hello'
    """

    def messages(self, topic: str, user: str, **options: Unpack[ReadOptions]) -> Iterator[Message]:
        """Every message of a user, in order, each **at least once**, for ever or until none waits.

        A message is done when the next one is asked for, so one whose handling was cut short comes again. With a
        `batch` above 1 so many are fetched together, and are done together: fewer requests, more repeats after a crash.
        To stop within the loop and keep what was handled: `advance(topic, user, message.id)`. A loop belongs to the
        process that began it: in a child it raises RuntimeError and confirms nothing.

        `after="0"`, the default, goes on where the user stands; an id that the caller has kept, behind that message.
        `wait`: seconds of a long poll, 20 by default, and 0 with `until_empty`. Raises `NoSubscription`, also when the
        subscription goes away: a broker without a store that was restarted has forgotten it, and its messages. Raises
        `CursorLost` for an id of an earlier life of the topic, and `LeasesOut` where workers lease from the same user.

        >>> for message in client.messages("news", "alice", batch=500, until_empty=True):
        ...     last = message.text
        >>> last
        'line 999'
        """
        return self._emitted(reading(self._exchange, topic, user, options))

    def work(
        self, topic: str, user: str, handle: Callable[[Message], object], **options: Unpack[WorkOptions]
    ) -> Worked:
        """Leases messages one by one and calls `handle` with each; many workers may share a user.

        When it returns, the message is acknowledged; when it raises, it is given back, to go out again behind others
        after `delay` seconds (1 by default), doubled with every further attempt up to `most_delay` (60), or after what
        `failed(message, error)` returns. While it runs, another thread extends the `lease`, which therefore need only
        cover a crash (30 s by default). Ends after `most` messages, with `until_empty` where none waits (what was given
        back does not, before its time), and when `stopped()`, asked between messages, is true. What interrupts it, such
        as KeyboardInterrupt, is raised after giving the message back.

        Handling is at least once: a message whose worker vanished, or lost its lease, goes to another. A message that
        always fails comes again for ever, unless the subscription has `max_deliveries`. A child that the handler forks
        and that comes out of the handler acknowledges and gives back nothing: it raises what the handler did there, or
        RuntimeError. Raises as `fetch`.

        >>> client.publish("jobs", "first").subscribers, client.subscribe("jobs", "crew")
        (0, True)
        >>> client.publish("jobs", "second").subscribers
        1
        >>> client.work("jobs", "crew", lambda message: print(message.text), until_empty=True)
        second
        Worked(done=1, failed=0, lost=0)
        """
        lease = options.get("lease", DEFAULT_LEASE)

        def handled(message: Message) -> BaseException | None:
            try:
                with self._kept(message, lease):
                    handle(message)
            except BaseException as error:
                return error
            return None

        return self._run(working(self._exchange, topic, user, options), handled)

    @contextmanager
    def _kept(self, message: Message, lease: float) -> Iterator[None]:
        """Extends the lease meanwhile."""
        over, began = threading.Event(), process_id()

        def pause(seconds: float) -> None:
            if over.wait(seconds):
                raise _Stopped

        def extend() -> None:
            with suppress(_Stopped):
                self._run(extending(self._exchange, message, lease), pause=pause)

        thread = threading.Thread(target=extend, name="fanmail-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            if process_id() == began:  # a child of the handler has neither the thread nor, for sure, the event's lock
                over.set()
                thread.join()
