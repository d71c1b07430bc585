"""The supervisor, with real children: small scripts that say on one shared pipe what happens to them."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.process.start import AGAIN
from common.process.supervise import FIRST_DELAY_S, Backoff

ROOT = Path(__file__).resolve().parents[4]

SUPERVISOR = """
import json, logging, os, signal, sys
from common.process import supervise
from common.process.readiness import die_with_parent
from common.process.supervise import Child, Supervisor

class Line(logging.Formatter):
    def format(self, r):
        extra = "".join(f" {k}={getattr(r, k)}" for k in ("child", "status", "delay") if hasattr(r, k))
        return r.getMessage() + extra

nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
die_with_parent()
if os.environ.pop("TOP", ""):  # it ends with the test run, and is otherwise a top supervisor
    if not nohup and "NOTIFY_SOCKET" not in os.environ:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    del os.environ["FANMAIL_SUPERVISOR"]
handler = logging.StreamHandler()
handler.setFormatter(Line())
log = logging.getLogger("test")
log.addHandler(handler)
children, options = json.loads(sys.argv[1])
supervise.REPEAT_S = options.pop("repeat", supervise.REPEAT_S)
children = [Child(name, argv) for name, argv in children]
sys.exit(Supervisor(children, log, on_ready=lambda: print("all ready", flush=True), **options).run())
"""

CHILD = """
import os, signal, sys
from common.process.readiness import announce_ready, die_with_parent
name = sys.argv[1]

def say(*words):
    try:
        os.write(1, (" ".join(map(str, (name, *words))) + "\\n").encode())
    except BrokenPipeError:
        os._exit(1)

def serve(stop=lambda: sys.exit(0)):
    def on_term(*_):
        say("stops")
        stop()
    signal.signal(signal.SIGTERM, on_term)
    signal.signal(signal.SIGHUP, lambda *_: say("hangup"))
    announce_ready()
    while True:
        signal.pause()

die_with_parent()
say("runs", os.getpid(), os.getpgrp())
"""
SERVE = "serve()"
STUBBORN = "serve(stop=lambda: None)"


def child(name: str, code: str = SERVE) -> tuple[str, list[str]]:
    return name, [sys.executable, "-c", CHILD + code, name]


def supervisor(*children: tuple[str, list[str]], **options: Any) -> list[str]:
    return [sys.executable, "-c", SUPERVISOR, json.dumps([children, options])]


class Run:
    """A supervisor under test and everything that it and its children say, line by line."""

    def __init__(self, argv: list[str], **options: Any) -> None:
        environ = {key: value for key, value in os.environ.items() if not key.startswith("FANMAIL_")}
        environ.update(
            {"PYTHONPATH": str(ROOT), "FANMAIL_SUPERVISOR": str(os.getpid()), "TOP": "1"},
            **options.pop("env", {}),
        )
        options.setdefault("stdin", subprocess.PIPE)
        self.process = subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)

    def until(self, text: str) -> list[str]:
        """Reads up to the first line with `text` and returns the lines, that one included."""
        lines = []
        assert self.process.stdout
        for raw in self.process.stdout:
            lines.append(raw.decode().strip())
            if text in lines[-1]:
                return lines
        raise AssertionError(f"{text!r} was never said: {lines}")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, list[str]]:
        """The exit code and the last lines, when every process of the tree has closed the pipe."""
        assert self.process.stdout
        lines = [raw.decode().strip() for raw in self.process.stdout]
        return self.process.wait(), lines


@pytest.fixture
def run() -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(argv: list[str], **options: Any) -> Run:
        runs.append(Run(argv, **options))
        return runs[-1]

    yield start
    for each in runs:
        each.process.kill()
        each.process.wait()
        for pipe in (each.process.stdin, each.process.stdout):
            if pipe:
                pipe.close()


Start = Callable[..., Run]


def test_delays_double_up_to_five_seconds_and_begin_anew_after_a_steady_run() -> None:
    backoff = Backoff()
    assert [backoff.after(0.1) for _ in range(7)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert backoff.after(10.0) == 0.2
    assert backoff.after(0.1) == 0.4


def test_sigterm_stops_every_child_and_the_exit_code_is_0(run: Start) -> None:
    tree = run(supervisor(child("a"), child("b")))
    tree.until("all ready")
    tree.signal(signal.SIGTERM)
    code, lines = tree.end()
    assert code == 0
    assert sorted(lines) == ["a stops", "b stops"]


def test_readiness_is_announced_once_and_only_when_all_are_ready(run: Start) -> None:
    read_end, write_end = os.pipe()
    waits = "sys.stdin.readline(); serve()"
    tree = run(
        supervisor(child("a"), child("b", waits)),
        pass_fds=[write_end],
        env={"FANMAIL_READY_FD": str(write_end)},
    )
    os.close(write_end)
    os.set_blocking(read_end, False)
    tree.until("b runs")
    with pytest.raises(BlockingIOError):
        os.read(read_end, 16)
    tree.process.stdin.write(b"\n")
    tree.process.stdin.flush()
    tree.until("all ready")
    os.set_blocking(read_end, True)
    with open(read_end, "rb") as pipe:
        assert pipe.read() == b"1\n"
    tree.signal(signal.SIGTERM)
    assert tree.end() in [(0, ["a stops", "b stops"]), (0, ["b stops", "a stops"])]


def test_systemd_hears_of_the_whole_and_its_reload_is_passed_on(run: Start, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        tree = run(supervisor(child("a"), child("b")), env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        tree.until("all ready")
        tree.signal(signal.SIGHUP)
        assert sorted(tree.until("hangup") + tree.until("hangup")) == ["a hangup", "b hangup"]
        tree.signal(signal.SIGTERM)
        assert tree.end()[0] == 0
        assert (systemd.recv(100), systemd.recv(100)) == (b"READY=1", b"STOPPING=1")
        systemd.setblocking(False)
        with pytest.raises(BlockingIOError):  # no child has said anything
            systemd.recv(100)


def test_a_killed_child_is_started_again_and_the_others_go_on(run: Start) -> None:
    tree = run(supervisor(child("a"), child("b")))
    lines = tree.until("all ready")
    pid = next(int(line.split()[2]) for line in lines if line.startswith("b runs"))
    os.kill(pid, signal.SIGKILL)
    assert tree.until("b runs")[:-1] == ["exited, will be restarted child=b status=SIGKILL delay=0.2"]
    tree.signal(signal.SIGTERM)
    code, lines = tree.end()
    assert code == 0
    assert "all ready" not in lines


@pytest.mark.parametrize(("code", "status"), [("sys.exit(3)", "exit code 3"), ("pass", "exit code 0")])
def test_a_child_that_exits_is_started_again_with_growing_delays(run: Start, code: str, status: str) -> None:
    tree = run(supervisor(child("a", code)))
    for delay in (0.2, 0.4):
        assert tree.until("will be restarted")[-1] == f"exited, will be restarted child=a status={status} delay={delay}"
    tree.until("a runs")


def test_a_child_that_asks_for_it_is_started_again_at_once(run: Start) -> None:
    tree = run(supervisor(child("a", f"import time; time.sleep({FIRST_DELAY_S}); sys.exit({AGAIN})")))
    for _ in range(2):
        assert "delay=0.0" in tree.until("will be restarted")[-1]


def test_a_program_that_is_not_there_is_tried_again(run: Start) -> None:
    tree = run(supervisor(("gone", ["/nonexistent/program"])))
    assert "status=not started: No such file or directory delay=0.4" in tree.until("delay=0.4")[-1]
    tree.signal(signal.SIGTERM)
    assert tree.end()[0] == 0


def test_exit_code_2_before_readiness_stops_everybody(run: Start) -> None:
    tree = run(supervisor(child("a"), child("b", "sys.stdin.readline(); print('port in use'); sys.exit(2)")))
    tree.until("b runs")
    tree.process.stdin.write(b"\n")
    tree.process.stdin.flush()
    code, lines = tree.end()
    assert code == 2
    assert "port in use" in lines
    assert not [line for line in lines if "will be restarted" in line]


def test_exit_code_2_after_readiness_is_a_death_like_any_other(run: Start) -> None:
    tree = run(supervisor(child("a", "announce_ready(); sys.exit(2)")))
    tree.until("a runs")
    assert "status=exit code 2" in tree.until("will be restarted")[-1]
    tree.until("a runs")
    assert "delay=0.4" in tree.until("will be restarted")[-1]


def test_a_child_that_does_not_stop_in_time_is_killed(run: Start) -> None:
    tree = run(supervisor(child("a", STUBBORN), stop_timeout=0.2))
    tree.until("all ready")
    tree.signal(signal.SIGTERM)
    code, lines = tree.end()
    assert code == 0
    assert "did not stop in time: killed child=a" in lines


def test_a_second_request_to_stop_kills_at_once_the_children_of_a_supervised_supervisor_too(
    run: Start,
) -> None:
    inner = supervisor(child("a", STUBBORN), stop_timeout=100)
    tree = run(supervisor(("inner", inner), stop_timeout=100))
    tree.until("all ready")
    tree.until("all ready")
    tree.signal(signal.SIGTERM)
    tree.until("a stops")
    while tree.process.poll() is None:  # the first ones count as the same request
        tree.signal(signal.SIGINT)
        os.sched_yield()
    code, lines = tree.end()
    assert code == 0
    assert "stop requested again: killing the remaining children" in lines


def test_a_signal_that_comes_twice_in_a_row_is_one_request(run: Start) -> None:
    drains = "serve(stop=lambda: (sys.stdin.readline(), say('has drained'), sys.exit(0)))"
    tree = run(supervisor(child("a", drains), repeat=100))
    tree.until("all ready")
    tree.signal(signal.SIGTERM)
    tree.until("a stops")
    tree.signal(signal.SIGTERM)
    tree.process.stdin.write(b"\n")
    tree.process.stdin.flush()
    assert tree.end() == (0, ["a has drained"])


def test_in_order_starts_one_after_the_other_and_stops_in_reverse(run: Start) -> None:
    stops_late = "serve(stop=lambda: (sys.stdin.readline(), say('has stopped'), sys.exit(0)))"
    tree = run(supervisor(child("a"), child("b", "say('after a'); " + stops_late), in_order=True))
    lines = tree.until("all ready")
    assert [line.split()[:2] for line in lines] == [
        ["a", "runs"],
        ["b", "runs"],
        ["b", "after"],
        ["all", "ready"],
    ]
    tree.signal(signal.SIGTERM)
    assert tree.until("stops") == ["b stops"]
    tree.process.stdin.write(b"\n")
    tree.process.stdin.flush()
    assert tree.end() == (0, ["b has stopped", "a stops"])


def test_in_order_the_next_waits_for_readiness(run: Start) -> None:
    tree = run(supervisor(child("a", "sys.stdin.readline(); say('is ready'); serve()"), child("b"), in_order=True))
    tree.until("a runs")
    tree.process.stdin.write(b"\n")
    tree.process.stdin.flush()
    assert tree.until("b runs")[0] == "a is ready"


def test_sighup_is_passed_on(run: Start) -> None:
    tree = run(supervisor(child("a"), child("b")))
    tree.until("all ready")
    tree.signal(signal.SIGHUP)
    assert sorted(tree.until("hangup") + tree.until("hangup")) == ["a hangup", "b hangup"]


def test_sighup_before_a_child_is_ready_comes_when_it_is(run: Start) -> None:
    """It may have read already what it is to read again."""
    tree = run(supervisor(child("a"), child("b", "os.read(0, 1); serve()")))
    tree.until("b runs")
    tree.signal(signal.SIGHUP)
    tree.until("a hangup")
    tree.process.stdin.write(b"\n")
    tree.process.stdin.flush()
    assert tree.until("b hangup")[-1].endswith("b hangup")  # "all ready" may stand in the same line


def test_sighup_goes_through_supervisors_and_harms_no_child_without_a_handler(run: Start) -> None:
    tells = "say('ignores it' if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else 'would die'); serve()"
    tree = run(supervisor(("inner", supervisor(child("a", tells)))))
    assert tree.until("all ready")[1] == "a ignores it"
    tree.until("all ready")
    tree.signal(signal.SIGHUP)
    assert tree.until("hangup") == ["a hangup"]


def test_after_nohup_a_hangup_does_nothing(run: Start) -> None:
    tree = run(supervisor(child("a")), preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    tree.until("all ready")
    tree.signal(signal.SIGHUP)
    tree.signal(signal.SIGTERM)
    assert tree.end() == (0, ["a stops"])


def test_a_closed_terminal_stops_everything(run: Start) -> None:
    master, slave = pty.openpty()
    tree = run(
        supervisor(child("a")),
        stdin=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(slave)
    tree.until("all ready")
    os.close(master)
    assert tree.end() == (0, ["a stops"])


def test_children_stand_outside_the_process_group_that_the_terminal_interrupts(run: Start) -> None:
    tree = run(supervisor(("inner", supervisor(child("a")))))
    pid, group = next(line.split()[2:] for line in tree.until("a runs") if line.startswith("a runs"))
    inner = os.getpgid(int(pid))
    assert inner == int(group)
    assert inner not in (int(pid), tree.process.pid, os.getpgid(tree.process.pid))


def test_children_stop_when_their_supervisor_is_killed(run: Start) -> None:
    tree = run(supervisor(("inner", supervisor(child("a")))))
    tree.until("all ready")
    tree.until("all ready")
    tree.signal(signal.SIGKILL)
    assert tree.end() == (-signal.SIGKILL, ["a stops"])
