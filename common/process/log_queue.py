"""Standard error behind a bounded queue, so that logging never blocks.

A pipe that nobody reads, a terminal stopped by Ctrl-S and a full disk block one thread here and no event loop. Lines
that do not fit are dropped and counted, and a line says how many as soon as writing works again.
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
"""Limits of the queue. Lines of `write_later` may use half of it."""
LATER_BYTES = 512
"""Estimated size of a line that is not rendered yet."""
GATHER_S = 0.25
"""Time for which such lines are collected, so that the loop is not interrupted for each of them."""
CHUNK = 64 * 1024
"""Bytes of one write."""
RETRY_S = 0.5
"""Interval of writes to a descriptor that would block."""
PATIENCE_S = 2.0
"""How long the end of the process waits for a reader that makes no progress."""

log = logging.getLogger("fanmail.log")


_Line = tuple[int, int, str, Callable[[Any], str] | None, Any]
"""A queued entry: bytes (estimated), lines, text, or a function that renders it and its argument. A plain tuple: there
is one per request.
"""


class LogQueue(io.TextIOBase):
    """A text stream in front of a descriptor.

    All methods may be called by any thread and in a signal handler. None blocks or fails, except that `close_within`
    blocks.
    """

    def __init__(self, descriptor: int, max_lines: int = MAX_LINES, max_bytes: int = MAX_BYTES) -> None:
        """Start the writing thread. The descriptor is not closed."""
        self._descriptor = descriptor
        self._max_lines, self._max_bytes = max_lines, max_bytes
        self._lock = threading.RLock()
        self._waiting: deque[_Line] = deque()
        self._lines = self._bytes = 0
        """Queued or being written."""
        self._dropped = self._unsaid = 0
        self._begun = ""
        """An incomplete line."""
        self._torn = False
        """The last write ended within a line."""
        self._bell: SimpleQueue[bool] = SimpleQueue()
        """Wakes the thread; False: it may collect more lines first."""
        self._rung = self._rung_softly = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Number of lines dropped so far."""
        return self._dropped

    def write(self, text: str) -> int:
        """Queue text, as complete lines: `print` and tracebacks write them in pieces."""
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
        """Queue a line that the thread renders and may write later. Such lines use at most half of the queue."""
        with self._lock:
            if self._lines < self._max_lines // 2 and self._bytes + LATER_BYTES <= self._max_bytes // 2:
                self._waiting.append((LATER_BYTES, 1, "", render, value))
                self._lines += 1
                self._bytes += LATER_BYTES
            else:
                self._drop(1)
        if not self._rung and not self._rung_softly:
            self._rung_softly = True
            self._bell.put(False)

    def flush(self) -> None:
        """Do nothing: the thread writes what is queued."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def close_within(self, patience: float = PATIENCE_S) -> None:
        """Write what is queued and end the thread. Gives up after `patience` seconds without progress."""
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
        """Add an entry, or drop it if the queue is full. Entries of the thread itself always fit."""
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
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # the main thread waits for them
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
                log.warning("log lines dropped: standard error was blocked", extra={"lines": unsaid})

    def _write(self, lines: list[_Line]) -> bool:
        """Return whether the lines were written. If not they are dropped: there is no reader, or the disk is full."""
        text = "\n" * self._torn + "".join(map(self._text, lines))
        data = memoryview(text.encode("utf-8", "backslashreplace"))
        while data:
            try:
                count = os.write(self._descriptor, data)
            except BlockingIOError:  # another process that shares the pipe has made it non-blocking
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
        except Exception:  # lose a line, not the log
            self._drop(1)
            return ""

    def _await_room(self) -> None:
        poller = select.poll()
        poller.register(self._descriptor, select.POLLOUT)
        poller.poll(RETRY_S * 1000)


def queue_standard_error() -> LogQueue:
    """Put a queue in front of standard error, tracebacks and warnings included, and return it.

    It is written out at the exit of the process. Later calls return the same queue.
    """
    if isinstance(sys.stderr, LogQueue):
        return sys.stderr
    closed = sys.stderr is None  # 2>&-: the next opened file would get its number
    queue = LogQueue(os.open(os.devnull, os.O_WRONLY) if closed else sys.stderr.fileno())
    atexit.register(queue.close_within)
    sys.stderr = queue
    return queue


def dropped_lines() -> int:
    """Return the number of lines of this process that never reached standard error."""
    return sys.stderr.dropped if isinstance(sys.stderr, LogQueue) else 0
