"""Standard error behind a bounded queue: whoever logs never waits for whoever reads.

A pipe that nobody reads, a terminal stopped by Ctrl-S and a full disk hold up one thread here and no loop. What does
not fit meanwhile is dropped and counted, and a line says how much as soon as lines get through again.
"""

from __future__ import annotations

import atexit
import io
import logging
import os
import select
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

MAX_LINES, MAX_BYTES = 50_000, 8 * 1024 * 1024
"""What may wait. Lines that `write_later` takes may use half of it, so that they leave room for all others."""
LATER_BYTES = 512
"""What a line that is not rendered yet is taken for."""
GATHER_S = 0.25
"""Seconds for which such lines are gathered, so that the loop is not interrupted for each of them."""
CHUNK = 64 * 1024
"""Bytes of one write."""
RETRY_S = 0.5
"""Seconds until the next write to a descriptor that takes nothing just now."""
PATIENCE_S = 2.0
"""Seconds that the end of the process waits for a reader that takes nothing."""

log = logging.getLogger("fanmail.log")


_Line = tuple[int, int, str, Callable[[Any], str] | None, Any]
"""What waits: bytes (estimated), lines, and the text, or what makes it and of what. Plain: there is one a request."""


class LogQueue(io.TextIOBase):
    """A text stream before a descriptor. All of it may be called by any thread, and in a signal handler; nothing of it
    waits or fails but `close_within`.
    """

    def __init__(self, descriptor: int, max_lines: int = MAX_LINES, max_bytes: int = MAX_BYTES) -> None:
        """Starts the thread that writes. The descriptor stays open."""
        self._descriptor = descriptor
        self._max_lines, self._max_bytes = max_lines, max_bytes
        self._lock = threading.RLock()
        self._waiting: deque[_Line] = deque()
        self._lines = self._bytes = 0
        """Waiting, or being written."""
        self._dropped = self._unsaid = 0
        self._begun = ""
        """A line that is not whole yet."""
        self._torn = False
        """A write broke off within a line."""
        self._bell: SimpleQueue[bool] = SimpleQueue()
        """Wakes the thread; False where it may gather more lines first."""
        self._rung = self._rung_softly = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines that were dropped so far."""
        return self._dropped

    def write(self, text: str) -> int:
        """Queues text: lines as soon as they are whole, as `print` and tracebacks write them in pieces."""
        size = len(text)
        with self._lock:
            text = self._begun + text
            whole = text.endswith("\n") or len(text) > CHUNK
            self._begun = "" if whole else text
        if text and whole:
            self._add((len(text), text.count("\n"), text, None, None), self._max_lines, self._max_bytes)
            if not self._rung:
                self._rung = True
                self._bell.put(True)
        return size

    def write_later(self, render: Callable[[Any], str], value: object) -> None:
        """Queues a line that the thread renders, and need not write at once. Such lines leave room for others."""
        self._add((LATER_BYTES, 1, "", render, value), self._max_lines // 2, self._max_bytes // 2)
        if not (self._rung or self._rung_softly):
            self._rung_softly = True
            self._bell.put(False)

    def flush(self) -> None:
        """Does nothing: the thread writes what there is."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def close_within(self, patience: float = PATIENCE_S) -> None:
        """Writes what waits and ends the thread. Gives up after `patience` seconds in which nothing was taken."""
        if self._begun:
            self.write("\n")
        self._closing = True
        self._bell.put(True)
        while self._thread.is_alive():
            before = self._bytes
            self._thread.join(patience)
            if self._bytes == before:
                return

    def _add(self, line: _Line, most_lines: int, most_bytes: int) -> None:
        """What the thread itself has to say always fits."""
        with self._lock:
            full = self._lines + line[1] > most_lines or self._bytes + line[0] > most_bytes
            if full and threading.current_thread() is not self._thread:
                self._drop(line[1])
                return
            self._waiting.append(line)
            self._lines += line[1]
            self._bytes += line[0]

    def _drop(self, lines: int) -> None:
        with self._lock:
            self._dropped += lines
            self._unsaid += lines

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # the main thread is waiting for them
        while not self._closing:
            if not self._bell.get():
                with suppress(Empty):
                    self._bell.get(timeout=GATHER_S)
            self._rung = self._rung_softly = False
            self._write_all()
        self._write_all()

    def _write_all(self) -> None:
        while self._waiting:
            lines: list[_Line] = []
            size = 0
            while self._waiting and size < CHUNK:
                lines.append(self._waiting.popleft())
                size += lines[-1][0]
            written = self._write(lines)
            with self._lock:
                self._lines -= sum(line[1] for line in lines)
                self._bytes -= size
            if written and self._unsaid:
                unsaid, self._unsaid = self._unsaid, 0
                log.warning("log lines dropped: nobody took them", extra={"lines": unsaid})

    def _write(self, lines: list[_Line]) -> bool:
        """Whether they are out; if not they are dropped: nobody is there, or the disk is full."""
        text = "\n" * self._torn + "".join(map(self._text, lines))
        data = memoryview(text.encode("utf-8", "backslashreplace"))
        while data:
            try:
                count = os.write(self._descriptor, data)
            except BlockingIOError:  # somebody who shares the pipe has made it non-blocking
                self._await_room()
                continue
            except OSError:
                self._drop(sum(line[1] for line in lines))
                return False
            self._torn = data[count - 1] != 0x0A
            data = data[count:]
        return True

    def _text(self, line: _Line) -> str:
        _, _, text, render, value = line
        if render is None:
            return text
        try:
            return render(value)
        except Exception:  # a line less, and not a log that has ended
            self._drop(1)
            return ""

    def _await_room(self) -> None:
        poller = select.poll()
        poller.register(self._descriptor, select.POLLOUT)
        poller.poll(RETRY_S * 1000)


def queue_standard_error() -> LogQueue:
    """Puts a queue before standard error, for tracebacks and warnings too, and returns it. It is emptied at the exit of
    the process. Once: later calls return the same one.
    """
    if isinstance(sys.stderr, LogQueue):
        return sys.stderr
    closed = sys.stderr is None  # 2>&-: whatever is opened next has that number
    queue = LogQueue(os.open(os.devnull, os.O_WRONLY) if closed else sys.stderr.fileno())
    atexit.register(queue.close_within)
    sys.stderr = queue
    return queue


def dropped_lines() -> int:
    """Lines of this process that never reached standard error."""
    return sys.stderr.dropped if isinstance(sys.stderr, LogQueue) else 0
