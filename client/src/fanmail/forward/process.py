"""All forwarders of a process: their clients, signals, and the end."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from importlib.util import find_spec

from fanmail.aio import AsyncClient
from fanmail.errors import FanmailError
from fanmail.forward.forwarder import GIVE_BACK_S, LAST_READ_S, Forwarder, OrderedForwarder
from fanmail.forward.gate import Gate
from fanmail.forward.mailbox import Mailbox
from fanmail.forward.poster import Poster
from fanmail.forward.tally import Durations, Tally
from fanmail.forward.target import Target
from fanmail.forward.timing import REAL_TIMING, Timing
from fanmail.retry import Retries
from fanmail.transport import default_ssl_context

TARGETS_PER_CLIENT = 16
"""A request looks at all connections of its client's pool, so a thousand long polls are spread over several."""
RESOLVERS = 64
"""Threads that look up names of hosts: a name server that hangs for some targets must not delay the others."""
SPARE_DESCRIPTORS = 64

Connect = Callable[[int, Retries], AsyncClient]
"""Return a client; those with different numbers may begin with different fronts."""

log: logging.Logger = logging.getLogger("fanmail.forward")


class Forwarding:
    """Runs the forwarders of these targets until a signal, or until all targets are gone.

    With one target, an error that waiting does not cure is raised; with several, that target is tried again later.
    """

    def __init__(self, targets: Sequence[Target], connect: Connect, timing: Timing = REAL_TIMING) -> None:
        """Raise ValueError if the process may not open as many connections as the targets may need."""
        check_descriptors(targets)
        self._targets = targets
        self._connect = connect
        self._timing = timing
        self._forwarders: list[Forwarder] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.durations: Durations = Durations()
        self.tallies: list[Tally] = [Tally(each.name, self.durations) for each in targets]
        self.stopped: int = 0
        """The signal that ended it, else 0."""

    async def run(self) -> None:
        """Forward. Raises `FanmailError` of a single target."""
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(RESOLVERS, "resolver"))
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self.stop, number)
        if find_spec("sniffio") is None:  # httpcore would look for it, in all folders, at every request
            sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]
        async with AsyncExitStack() as stack:
            await self._make(stack)
            log.info("forwarding", extra={"targets": len(self._targets), "unsigned": self._unsigned})
            try:
                async with asyncio.TaskGroup() as group:
                    self._tasks = [group.create_task(each.run()) for each in self._forwarders]
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from None
        log.info("stopped", extra={"signal": self.stopped or None})

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Let the requests under way end, and give back all other leases; when called again, those too."""
        if self.stopped:
            self._cancel()
            return
        self.stopped = number
        for each in self._forwarders:
            each.stop()
        grace_s = max(each.timeout for each in self._targets) + LAST_READ_S + GIVE_BACK_S
        asyncio.get_running_loop().call_later(grace_s, self._cancel)

    @property
    def is_gone(self) -> bool:
        """Whether all targets have answered that they are gone."""
        return all(each.gone for each in self.tallies)

    @property
    def _unsigned(self) -> int:
        return sum(not each.secrets for each in self._targets)

    def _cancel(self) -> None:
        for each in self._tasks:
            each.cancel()

    async def _make(self, stack: AsyncExitStack) -> None:
        context = default_ssl_context()
        retries = Retries(total=None, on_retry=_report)
        client: AsyncClient | None = None
        gate = Gate()
        for number, (target, tally) in enumerate(zip(self._targets, self.tallies, strict=True)):
            if client is None or number % TARGETS_PER_CLIENT == 0:
                client = await stack.enter_async_context(self._connect(number // TARGETS_PER_CLIENT, retries))
            poster = await stack.enter_async_context(Poster(target, self._timing, context))
            mailbox = Mailbox(target, client, tally, self._timing)
            kind = OrderedForwarder if target.ordered else Forwarder
            forwarder = kind(target, mailbox, poster, tally, self._timing, gate)
            forwarder.is_patient = len(self._targets) > 1
            self._forwarders.append(forwarder)


def _report(error: FanmailError) -> None:
    log.info("Fanmail is not available", extra={"reason": str(error)})


def check_descriptors(targets: Sequence[Target]) -> None:
    """Raise the limit of open files as far as necessary. Raise ValueError if it may not be raised so far."""
    needed = sum(1 + 2 * each.concurrency for each in targets) + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise ValueError(
            f"{len(targets):,} targets may need {needed:,} open files, and the limit is {hard:,} (ulimit -n)"
        )
    if soft != resource.RLIM_INFINITY and needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
