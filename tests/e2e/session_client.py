"""`python -m tests.e2e.session_client`: sessions of the Python client, each in a process that can be killed.

It reads requests in JSON lines from standard input, and forks a child for each, which reads a mailbox by a session
until it is killed. Everybody says what happens in JSON lines on standard output, each before it goes on: a message is
handled once it is written there.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from concurrent.futures import Future
from contextlib import suppress
from ctypes import CDLL
from functools import partial
from typing import Any

from fanmail import Client, LeaseLost, Message, Retries, Session

QUICK = Retries(total=60.0, base=0.02, max_pause=0.2)
CONFIRM_EVERY = 5
"""Messages after which a client with mode `after` acknowledges, and says when that is answered."""
BAD = 0.05
"""The share of leased messages that are given back."""
_PR_SET_PDEATHSIG = 1


def say(**about: Any) -> None:
    """Write at once; `at` is the monotonic clock, which all processes of a machine share."""
    os.write(1, json.dumps(about | {"at": time.monotonic()}).encode() + b"\n")


def end_with_parent() -> None:
    CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def read(asked: dict[str, Any]) -> None:
    """Read and acknowledge until this process is killed."""
    mode = asked["mode"]
    options = {"lease": asked["lease"]} if mode == "lease" else {"on_gap": lambda gap: say(gap=gap.first)}
    with Client(asked["urls"], retries=QUICK) as client, client.session() as session:
        messages = session.read(asked["topic"], asked["user"], mode=mode, window=asked["window"], **options)
        handle = handle_leased if mode == "lease" else handle_hastily if asked["hasty"] else handle_in_order
        for number, message in enumerate(messages, 1):
            handle(session, message, number, asked["careful"])


def handle_in_order(session: Session, message: Message, number: int, careful: bool) -> None:
    say(id=message.id, text=message.text)
    if number % CONFIRM_EVERY == 0:
        session.acknowledge(message)
        say(confirmed=message.id)


def handle_hastily(session: Session, message: Message, number: int, careful: bool) -> None:
    """Acknowledge before it is handled: a negative control."""
    session.acknowledge(message)
    time.sleep(0.01)
    say(id=message.id, text=message.text)


def handle_leased(session: Session, message: Message, number: int, careful: bool) -> None:
    say(id=message.id, text=message.text, attempt=message.attempt)
    if not careful and random.random() < BAD:
        with suppress(LeaseLost):
            session.give_back(message)
        return
    say(tried=message.id)
    session.acknowledge_soon(message).add_done_callback(partial(tell, message))


def tell(message: Message, answer: Future[None]) -> None:
    error = answer.exception()
    if error is None:
        say(acked=message.id)
    elif isinstance(error, LeaseLost):
        say(lost=message.id)


def main() -> None:
    end_with_parent()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            end_with_parent()
            try:
                read(json.loads(line))
            except Exception as error:
                say(failed=repr(error))
            os._exit(0)
        say(pid=child)
        os.waitpid(child, 0)
        say(ended=child)


if __name__ == "__main__":
    main()
