"""`fanmail bench --ws`: the same run over sessions, one for each publisher and one for each reader."""

from __future__ import annotations

import time
from concurrent.futures import Future
from functools import partial

from fanmail.cli.bench import BenchRun, Tally, sent_at_s
from fanmail.client import Client
from fanmail.message import Published
from fanmail.session.sync import Session

WINDOW = 1000
SILENCE_S = 0.5


class SessionBenchRun(BenchRun):
    """Threads that publish with several messages in flight and read as messages come."""

    def __init__(self, client: Client, size: int, in_flight: int) -> None:
        super().__init__(client, size, 1)
        self._in_flight = in_flight

    def _session(self) -> Session:
        return self._client.session(in_flight=self._in_flight)

    def _publish(self, topic: str, tally: Tally) -> None:
        def answered(began: float, _: Future[Published]) -> None:
            tally.latencies_s.append(time.monotonic() - began)
            tally.messages += 1

        with self._session() as session:
            while self._publishing.is_set() and not self.errors:
                began = time.monotonic()
                session.publish_soon(topic, self._body(began)).add_done_callback(partial(answered, began))

    def _read(self, topic: str, tally: Tally) -> None:
        with self._session() as session:
            while not self.errors and time.monotonic() < self._until:
                for message in session.read(topic, "bench", window=WINDOW, wait=SILENCE_S):
                    tally.latencies_s.append(time.monotonic() - sent_at_s(message.body))
                    tally.messages += 1
                if self._has_read_all(topic, tally):
                    return
