"""The loop of one target: leases messages, sends them, and acknowledges them or gives them back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from fanmail.errors import FanmailError
from fanmail.forward.answer import Answer, Outcome
from fanmail.forward.delivery import many_messages, one_message
from fanmail.forward.gate import Gate
from fanmail.forward.mailbox import Mailbox
from fanmail.forward.pace import Pace
from fanmail.forward.poster import Poster
from fanmail.forward.tally import Tally
from fanmail.forward.target import Target
from fanmail.forward.timing import Timing, jittered
from fanmail.message import Fetched, Message
from fanmail.retry import Retries

SHORT_POLL_S = 0.5
"""A long poll that ends empty sooner than this was cut short; the next one is delayed."""
CALM = Retries()
"""The pauses between such polls."""

PATIENT = Retries(base=1.0, max_pause=60.0)
"""The pauses after reads that were refused, as without a subscription."""
GIVE_BACK_S = 5.0
"""How long a forwarder that must stop at once tries to give a lease back; then it runs out by itself."""

LAST_READ_S = 0.5
"""How long a read may still take after `stop`: to cut off one that is being answered would leave a lease open."""

log: logging.Logger = logging.getLogger("fanmail.forward")


class Forwarder:
    """Forwards the messages of one mailbox to one target, at least once, with up to `concurrency` requests at once."""

    free_failures = 1
    """A single failure is more often one of the message than one of the target."""

    def __init__(
        self, target: Target, mailbox: Mailbox, poster: Poster, tally: Tally, timing: Timing, gate: Gate
    ) -> None:
        self.target = target
        self.tally = tally
        self.is_patient: bool = False
        self._mailbox = mailbox
        self._poster = poster
        self._timing = timing
        self._gate = gate
        self._pace = Pace(target.delay, self.free_failures, timing)
        self._empty_polls = 0
        self._freed = asyncio.Event()
        self._group: asyncio.TaskGroup = asyncio.TaskGroup()
        self._reader: asyncio.Task[None] | None = None
        self._error: FanmailError | None = None
        self._unsent: Sequence[Message] = ()
        """What is leased and belongs to no request yet."""
        self._is_stopped = False

    async def run(self) -> None:
        """Forward until the target is gone, or `stop` and the end of the requests under way.

        Cancellation gives all leases back. Raises what a read raises, as `NoSubscription`, when no request is under
        way any more; if it `is_patient`, it reads again later instead.
        """
        if self._is_stopped:
            return
        try:
            async with asyncio.TaskGroup() as self._group:
                self._reader = self._group.create_task(self._read_until_stopped())
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        if self._error is not None:
            raise self._error
        if self.tally.gone and self.target.unsubscribe_on_gone:
            await self._mailbox.unsubscribe()

    def stop(self) -> None:
        """Lease nothing more, and give back what a read that is under way still leases."""
        self._is_stopped = True
        if self._reader is not None:
            asyncio.get_running_loop().call_later(LAST_READ_S, self._reader.cancel)

    async def _read_until_stopped(self) -> None:
        failures = 0
        try:
            while not self._is_stopped:
                try:
                    if left_s := self._pace.left_s:
                        await self._timing.sleep(left_s)
                    else:
                        await self._read()
                        failures = 0
                except FanmailError as error:
                    self._mailbox.note(error)
                    if not self.is_patient:
                        self._error = error
                        return
                    failures += 1
                    await self._timing.sleep(PATIENT.pause(failures, error.retry_after, self._timing.random()))
        finally:
            if self._unsent:
                await self._give_back_now(self._unsent)

    async def _read(self) -> None:
        """Lease messages if there is room for requests, and begin these."""
        room = self._room()
        if not room:
            self._freed.clear()
            await self._freed.wait()
            return
        messages = await self._lease(self._batch_limit() if self.target.batch else room)
        if messages and self._pace.left_s:  # a request has failed during the long poll
            await self._mailbox.give_back(messages, [self._pace.left_s] * len(messages))
            self._unsent = ()
            return
        for each in self._requests(messages):
            self._begin(each)

    def _begin(self, messages: Sequence[Message]) -> asyncio.Task[bool]:
        self._unsent = ()
        self.tally.in_flight += 1
        return self._group.create_task(self._attempt(messages))

    def _room(self) -> int:
        """Return how many requests may begin: while the target may not work, one at a time."""
        return max((1 if self._pace.is_trying else self.target.concurrency) - self.tally.in_flight, 0)

    def _batch_limit(self) -> int:
        """Return how many messages the next request may have."""
        return 1 if self._pace.is_trying else max(self.target.batch, 1)

    def _requests(self, messages: Sequence[Message]) -> list[Sequence[Message]]:
        """Return the messages of each request."""
        if self.target.batch:
            return [messages] if messages else []
        return [(each,) for each in messages]

    async def _lease(self, limit: int) -> Sequence[Message]:
        """Lease messages, if there are any within the time of a long poll."""
        await self._gate.read()
        if self._is_stopped:
            return ()
        began = self._timing.clock()
        fetched = await self._mailbox.lease(limit)
        self._unsent = fetched.messages
        if self._is_stopped:
            return ()
        await self._calm(fetched, began)
        return fetched.messages

    async def _calm(self, fetched: Fetched, began: float) -> None:
        """Pause if a poll came back empty too soon, as the server is overloaded or stopping."""
        is_early = not fetched.messages and (bool(fetched.retry_after) or self._timing.clock() - began <= SHORT_POLL_S)
        self._empty_polls = self._empty_polls + 1 if is_early else 0
        if is_early:
            await self._timing.sleep(CALM.pause(self._empty_polls, fetched.retry_after, self._timing.random()))

    async def _attempt(self, messages: Sequence[Message]) -> bool:
        """Send messages in one request, and acknowledge them or give them back. Return whether they are done."""
        keeper = self._group.create_task(self._mailbox.keep(messages))
        try:
            return await self._send(messages)
        finally:
            keeper.cancel()
            self.tally.in_flight -= 1
            self._freed.set()

    async def _send(self, messages: Sequence[Message]) -> bool:
        try:
            await self._gate.send()
            if not self._is_stopped:
                return await self._post_and_settle(messages)
        except asyncio.CancelledError:
            await self._give_back_now(messages)
            raise
        await self._give_back_now(messages)
        return False

    async def _post_and_settle(self, messages: Sequence[Message]) -> bool:
        began = self._timing.clock()
        answer = await self._post(messages)
        if answer.outcome == Outcome.DONE:
            self._note_success()
            return await self._mailbox.acknowledge(messages)
        await self._note_failure(messages, answer, began)
        return False

    async def _give_back_now(self, messages: Sequence[Message]) -> None:
        """Give messages back before an end, as far as that is possible soon. To be cancelled does not shorten that."""

        async def give_back() -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(GIVE_BACK_S):
                    await self._mailbox.give_back(messages, [0.0] * len(messages))

        giving = asyncio.create_task(give_back())
        try:
            await asyncio.shield(giving)
        except asyncio.CancelledError:
            await giving
            raise

    async def _post(self, messages: Sequence[Message]) -> Answer:
        began = self._timing.clock()
        answer = await self._poster.post(many_messages(messages) if self.target.batch else one_message(messages[0]))
        self.tally.attempts[answer.outcome] += 1
        self.tally.durations.add(self._timing.clock() - began)
        return answer

    def _note_success(self) -> None:
        if self._pace.failures:
            log.info("the target works again", extra={"target": self.target.name, "failures": self._pace.failures})
        self._pace.succeeded()
        self.tally.failures = 0
        self.tally.last_success = self._timing.wall()

    async def _note_failure(self, messages: Sequence[Message], answer: Answer, began: float) -> None:
        """Adapt the pace, log, and give the messages back."""
        fields: dict[str, object] = {"target": self.target.name, "host": self.target.host}
        if answer.outcome == Outcome.GONE:
            log.error("the target is gone and gets nothing more", extra=fields | {"status": answer.status})
            self.tally.gone = True
            self.stop()
            await self._mailbox.give_back(messages, [0.0] * len(messages))
            return
        self._pace.failed(began, answer.retry_after_s)
        self.tally.failures = self._pace.failures
        delays = [self._delay_s(each, answer) for each in messages]
        fields |= {"outcome": str(answer.outcome), "status": answer.status, "reason": answer.reason}
        fields |= {"id": messages[0].id, "messages": len(messages), "attempt": messages[0].attempt}
        fields |= {"delay_s": round(delays[0], 3), "pause_s": round(self._pace.left_s, 3)}
        log.warning("an attempt failed", extra=fields)
        await self._mailbox.give_back(messages, delays)

    def _delay_s(self, message: Message, answer: Answer) -> float:
        """Return the time until a message is delivered again; its first attempt is 1."""
        target = self.target
        delay_s = min(target.delay * 2.0 ** min(message.attempt - 1, 60), max(target.delay, target.max_delay))
        return max(jittered(delay_s, self._timing.random()), answer.retry_after_s)


class OrderedForwarder(Forwarder):
    """Forwards in order: one request at a time, and nothing is leased until its messages are done.

    What fails is given back at once and leased again after the pause of the target: what is given back comes before
    everything newer. It must be the only consumer of the mailbox.
    """

    free_failures = 0

    def __init__(
        self, target: Target, mailbox: Mailbox, poster: Poster, tally: Tally, timing: Timing, gate: Gate
    ) -> None:
        super().__init__(target, mailbox, poster, tally, timing, gate)
        self._next_id: str | None = None
        """The id of the message that comes next, if that is known."""

    async def _read(self) -> None:
        if self._next_id is None:
            await self._until_nothing_is_leased()
        messages = await self._lease(self._batch_limit())
        if not messages:
            return
        if messages[0].id != self._next_id and not await self._mailbox.are_oldest(messages):
            # An older one is with somebody else: with a predecessor that was killed, or lost with an answer.
            self._next_id = None
            await self._mailbox.give_back(messages, [0.0] * len(messages))
            self._unsent = ()
            return
        is_done = await asyncio.shield(self._begin(messages))
        self._next_id = _following(messages[-1]) if is_done else messages[0].id

    async def _until_nothing_is_leased(self) -> None:
        pauses = 0
        while leased := await self._mailbox.leased():
            if not pauses:
                log.info("waiting for leases of others", extra={"target": self.target.name, "leased": leased})
            pauses += 1
            await self._timing.sleep(CALM.pause(pauses, 0.1, self._timing.random()))

    def _delay_s(self, message: Message, answer: Answer) -> float:
        return 0.0


def _following(message: Message) -> str:
    epoch, _, seq = message.id.rpartition("-")
    return f"{epoch}-{int(seq) + 1}"
