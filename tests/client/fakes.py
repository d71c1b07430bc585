"""Flows without sockets: they are run against a list of outcomes, with a clock that only pauses advance."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable
from typing import Any

from fanmail.exchange import Exchange
from fanmail.flow import Emit, Environment, Flow, Handle, Pause, ReadLine, Send
from fanmail.http_call import NoResponse, Outcome, Response
from fanmail.message import Message
from fanmail.retry import BaseUrls, Retries

URLS = ("http://one", "http://two")
REFUSED = NoResponse(False, "refused")
RESET = NoResponse(True, "reset")
GONE = Response(204, {})


def problem(status: int, code: str, retry_after: int = 0, **fields: object) -> Response:
    """Return an error response as the server sends it."""
    document = {"type": f"urn:fanmail:{code}", "title": code, "status": status, "detail": f"about {code}", "code": code}
    headers = {"content-type": "application/problem+json", "x-request-id": "id-1"}
    if retry_after:
        headers["retry-after"] = str(retry_after)
    return Response(status, headers, json.dumps(document | fields).encode())


def message(seq: int, body: bytes = b"", receipt: bool = False, **headers: str) -> Response:
    """Return a response to a `GET` without `max`."""
    found = {"msg-id": f"e-{seq}", "msg-time": "2026-01-01T00:00:00.000Z", "msg-attempt": "1", "msg-pending": "0"}
    if receipt:
        found["msg-receipt"] = f"e-{seq}.1"
    return Response(200, found | headers, body)


class Stage:
    """Runs flows. Every response takes `answer_time` seconds; `chance` is what the random source returns."""

    def __init__(
        self,
        answers: Iterable[Outcome | Callable[[], Outcome]],
        urls: Iterable[str] = URLS[:1],
        retries: Retries = Retries(),  # noqa: B008 - it is frozen
        chance: float = 1.0,
        answer_time: float = 0.0,
    ) -> None:
        self._answers = iter(answers)
        self._answer_time = answer_time
        self.now = 1000.0
        self.sent: list[Send] = []
        self.pauses: list[float] = []
        self.emitted: list[str] = []
        """Ids of messages."""
        self.emitted_items: list[Any] = []
        """All emitted items, including those without an id."""
        self.lines: list[bytes | NoResponse] = []
        """What is read of responses that stream; then their connections are reset."""
        self.handled: list[str] = []
        self.raises: list[BaseException | None] = []
        """What the handler raises for each message in turn; then nothing."""
        keys = (f"key-{n}" for n in itertools.count(1))
        environment = Environment(lambda: self.now, lambda: chance, lambda: next(keys))
        self.exchange = Exchange(BaseUrls(list(urls)), retries, 10.0, environment)

    def play(self, flow: Flow[Any], limit: int = 1000) -> Any:
        """Run a flow. Return its result, or None after `limit` emitted messages."""
        answer: Any = None
        while True:
            try:
                effect = flow.send(answer)
            except StopIteration as end:
                return end.value
            answer = self._do(effect)
            if len(self.emitted) >= limit:
                flow.close()
                return None

    def pause_of(self, flow: Flow[Any]) -> None:
        """Run a flow up to its next pause, and let it pass."""
        answer: Any = None
        while not isinstance(effect := flow.send(answer), Pause):
            answer = self._do(effect)
        self._do(effect)

    def _do(self, effect: object) -> Any:
        if isinstance(effect, Send):
            self.sent.append(effect)
            answer = next(self._answers)
            self.now += self._answer_time
            return answer() if callable(answer) else answer
        if isinstance(effect, Pause):
            self.pauses.append(effect.seconds)
            self.now += effect.seconds
        elif isinstance(effect, ReadLine):
            return self.lines.pop(0) if self.lines else RESET
        elif isinstance(effect, Emit):
            self.emitted_items.append(effect.item)
            self.emitted += [effect.item.id] if isinstance(effect.item, Message) else []
        else:
            assert isinstance(effect, Handle)
            self.handled.append(effect.message.id)
            return self.raises.pop(0) if self.raises else None
        return None

    @property
    def targets(self) -> list[str]:
        """Methods and targets that were sent."""
        return [f"{each.request.method} {each.request.target}" for each in self.sent]

    @property
    def bases(self) -> list[str]:
        return [each.base for each in self.sent]

    def keys(self) -> list[str | None]:
        """Return the idempotency keys that were sent."""
        return [dict(each.request.headers).get("Idempotency-Key") for each in self.sent]
