"""The queue before standard error: whoever logs never waits, and what is lost is counted and said."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.process.log import JsonFormatter
from common.process.log_queue import CHUNK, LogQueue
from tests.e2e.cluster import PATIENCE, clean_environ, wait_for

PIPE = 4096
"""Bytes that the pipe holds."""


class Pipe:
    """A pipe of one page, full to the brim until it is read."""

    def __init__(self, full: bool = True) -> None:
        self.read_end, self.write_end = os.pipe()
        fcntl.fcntl(self.write_end, fcntl.F_SETPIPE_SZ, PIPE)
        self.filling = b"x" * (PIPE - 1) + b"\n" if full else b""
        os.write(self.write_end, self.filling)

    def read_until(self, end: str) -> list[str]:
        """The lines that come up to one that ends so."""
        data = b""
        while not data.endswith(end.encode() + b"\n"):
            data += os.read(self.read_end, 65536)
        return data.removeprefix(self.filling).decode().splitlines()

    def close(self) -> None:
        os.close(self.read_end)
        os.close(self.write_end)


@pytest.fixture
def full() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


@pytest.fixture
def told(full: Pipe) -> Iterator[LogQueue]:
    """A queue of three lines whose reader has stopped, to which the log goes."""
    queue = LogQueue(full.write_end, max_lines=3)
    handler = logging.StreamHandler(queue)
    handler.setFormatter(JsonFormatter("b0"))
    log = logging.getLogger("fanmail.log")
    log.addHandler(handler)
    yield queue
    log.removeHandler(handler)


def test_what_does_not_fit_is_dropped_counted_and_said(full: Pipe, told: LogQueue) -> None:
    for n in range(10):
        told.write(f"line {n}\n")
    assert told.dropped == 7
    lines = full.read_until("}")
    assert lines[:3] == ["line 0", "line 1", "line 2"]
    notice = json.loads(lines[3])
    assert (notice["level"], notice["lines"]) == ("warning", 7)
    told.write("and on\n")
    assert full.read_until("and on") == ["and on"], "it is said once"


def test_bytes_count_too(full: Pipe) -> None:
    queue = LogQueue(full.write_end, max_bytes=10)
    queue.write("12345678\n")
    queue.write("1\n")
    assert queue.dropped == 1


def test_the_access_log_leaves_room_for_others(full: Pipe) -> None:
    queue = LogQueue(full.write_end, max_lines=6)
    for _ in range(10):
        queue.write_later(lambda value: f"{value}\n", "request")
    assert queue.dropped == 7
    queue.write("important\n")
    assert queue.dropped == 7


def test_a_process_ends_though_nobody_reads(full: Pipe) -> None:
    queue = LogQueue(full.write_end)
    queue.write("waits\n")
    queue.close_within(0.01)
    assert full.read_until("waits") == ["waits"]


def test_the_end_waits_as_long_as_somebody_reads() -> None:
    pipe = Pipe(full=False)
    queue = LogQueue(pipe.write_end)
    text = "y" * 999 + "\n"
    for _ in range(3 * CHUNK // len(text)):
        queue.write(text)
    with subprocess.Popen(["wc", "-c"], stdin=pipe.read_end, stdout=subprocess.PIPE) as reader:
        queue.close_within()
        pipe.close()
        assert reader.communicate(timeout=PATIENCE)[0].strip() == str(3 * CHUNK // 1000 * 1000).encode()


def test_a_pipe_that_somebody_made_non_blocking_is_waited_for(full: Pipe) -> None:
    os.set_blocking(full.write_end, False)
    queue = LogQueue(full.write_end)
    queue.write("waits\n")
    assert full.read_until("waits") == ["waits"]
    assert queue.dropped == 0


def test_a_full_disk_loses_lines_and_no_more() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    queue = LogQueue(descriptor)
    queue.write("one\ntwo\n")
    wait_for(lambda: queue.dropped == 2)
    pipe = Pipe(full=False)
    os.dup2(pipe.write_end, descriptor)
    queue.write("three\n")
    assert pipe.read_until("three") == ["three"]
    os.close(descriptor)
    pipe.close()


def test_a_reader_that_has_gone_loses_lines_and_no_more() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    queue = LogQueue(write_end)
    queue.write("one\n")
    wait_for(lambda: queue.dropped == 1)
    queue.close_within()
    os.close(write_end)


def test_a_line_that_cannot_be_rendered_is_dropped() -> None:
    pipe = Pipe(full=False)
    queue = LogQueue(pipe.write_end)
    queue.write_later(lambda value: str(1 / int(str(value))) + "\n", 0)
    queue.write("on\n")
    assert pipe.read_until("on") == ["on"]
    assert queue.dropped == 1
    pipe.close()


SERVICE = """
import logging, sys
from common.errors import StartError
from common.process.log import setup_logging
from common.process.start import run_service

def main():
    setup_logging("json", "info", "p")
    logging.getLogger("fanmail.x").critical("the last word")
    {end}

run_service(main, "p")
"""
STARTS_NOT, FAILS = "raise StartError('no store')", "raise RuntimeError('broken')"


@pytest.mark.parametrize(("end", "code", "last"), [(STARTS_NOT, 2, "p: no store"), (FAILS, 1, "RuntimeError: broken")])
@pytest.mark.parametrize("reads", [True, False])
def test_the_last_lines_reach_who_reads_and_hold_up_nobody(end: str, code: int, last: str, reads: bool) -> None:
    pipe = Pipe(full=not reads)
    argv = [sys.executable, "-c", SERVICE.format(end=end)]
    process = subprocess.Popen(argv, stderr=pipe.write_end, env=clean_environ())
    if reads:
        lines = pipe.read_until(last)
        assert json.loads(lines[0])["event"] == "the last word"
    assert process.wait(PATIENCE) == code
    pipe.close()


def test_a_closed_standard_error_is_no_file_of_ours(tmp_path: Path) -> None:
    """What is opened first has its number then."""
    script = f"f = open({str(tmp_path / 'data')!r}, 'w')\n" + SERVICE.format(end="return 0")
    argv = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-c", script]
    assert subprocess.run(argv, env=clean_environ(), timeout=PATIENCE).returncode == 0
    assert (tmp_path / "data").read_bytes() == b""


def test_a_line_that_is_written_in_pieces_is_one_line() -> None:
    read, write = os.pipe()
    queue = LogQueue(write)
    for number in range(100):
        print(f"piece {number}", "of", "one line", file=queue)
    queue.write("the end")
    queue.close_within()
    assert os.read(read, 65536).decode().splitlines() == [
        *(f"piece {number} of one line" for number in range(100)),
        "the end",
    ]
    os.close(read)
    os.close(write)
