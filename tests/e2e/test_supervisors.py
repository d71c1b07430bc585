"""`bin/start-brokers` and `bin/start-fronts`: children live exactly as long as their supervisor."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.conftest import StartSupervised
from tests.e2e.cluster import PATIENCE, ROOT, Client, Front, Supervised, clean_environ, free_ports, is_ready, wait_for


def alive(pid: int) -> bool:
    """Return whether a process with that id runs. A zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def run(script: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a script that is expected to end by itself."""
    argv = [str(ROOT / "bin" / script), *arguments]
    return subprocess.run(
        argv, cwd=cwd, env=clean_environ(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_a_whole_service_in_a_relative_run_dir(folder: Path, start_supervised: StartSupervised) -> None:
    """Start the fronts first, as the order does not matter. Killed children return, and SIGTERM leaves none behind."""
    port = free_ports(2)
    fronts = start_supervised("start-fronts", "2", f"--port={port}", "--ops-port=0", "--run-dir=run", cwd=folder)
    brokers = start_supervised("start-brokers", "2", "--run-dir=./run", cwd=folder)
    for each in (port, port + 1):
        wait_for(lambda each=each: is_ready(each), "the fronts to be ready")
    assert (folder / "run").stat().st_mode & 0o777 == 0o700
    web, other = Client(port), Client(port + 1)
    web.subscribe("t", "ann")
    other.publish("t", b"hello")
    assert web.take("t", "ann").body == b"hello"

    before = {each: set(each.children()) for each in (brokers, fronts)}
    assert [len(children) for children in before.values()] == [2, 2]
    for supervisor, names in ((brokers, {"b0", "b1"}), (fronts, {f"front-{port}", f"front-{port + 1}"})):
        victim = min(before[supervisor])
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda s=supervisor, v=victim: len(set(s.children()) - {v}) == 2, "the restart")
        assert len(before[supervisor] & set(supervisor.children())) == 1
        (line,) = [each for name in names for each in supervisor.exited(name)]
        assert line["pid"] == victim
        assert line["status"] == "SIGKILL"
        assert line["delay"] > 0
        assert line["level"] == "warning"
        assert line["time"].endswith("Z")
    for each in (port, port + 1):
        wait_for(lambda each=each: is_ready(each), "the fronts to be ready again")
    for client in (web, other):
        client.close()
        assert client.subscribe("t", "bob").status == 200
        client.close()

    for supervisor in (fronts, brokers):
        children = supervisor.children()
        assert len(children) == 2
        assert supervisor.process.terminate() == 0
        assert not any(map(alive, children))
    assert not is_ready(port)


def test_a_child_that_exits_by_itself_is_started_again(folder: Path, start_supervised: StartSupervised) -> None:
    brokers = start_supervised("start-brokers", "1", f"--run-dir={folder}/run")
    wait_for(lambda: "serving" in brokers.process.log())
    (first,) = brokers.children()
    os.kill(first, signal.SIGTERM)
    wait_for(lambda: brokers.children() not in ([], [first]))
    (line,) = brokers.exited("b0")
    assert line["status"] == "exit code 0"


@pytest.mark.parametrize("script", ["start-brokers", "start-fronts"])
def test_children_do_not_outlive_a_killed_supervisor(
    folder: Path, start_supervised: StartSupervised, script: str
) -> None:
    supervisor: Supervised = start_supervised(script, "2", f"--run-dir={folder}/run", *port_flag(script))
    wait_for(lambda: supervisor.process.log().count('"serving"') == 2, "the children to serve")
    children = supervisor.children()
    supervisor.process.kill()
    wait_for(lambda: not any(map(alive, children)), "the children to end")


def port_flag(script: str) -> list[str]:
    return [f"--port={free_ports(2)}", "--ops-port=0"] if script == "start-fronts" else []


def test_a_port_in_use_is_one_clear_line(folder: Path) -> None:
    port = free_ports(2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port + 1))
        taken.listen()
        for done in (
            run("start-fronts", "2", f"--port={port}", "--ops-port=0", f"--run-dir={folder}/run"),
            run("start-fronts", "2", "--port=0", f"--ops-port={port}", f"--run-dir={folder}/run"),
            run_front(f"--port={port + 1}", "--ops-port=0", f"--run-dir={folder}/run"),
            run_front("--port=0", f"--ops-port={port + 1}", f"--run-dir={folder}/run"),
        ):
            assert_unusable(done, f"{port + 1}")


def run_front(*flags: str) -> subprocess.CompletedProcess[str]:
    argv = [str(ROOT / ".venv/bin/python"), "-m", "httpfront", *flags]
    return subprocess.run(
        argv, cwd=ROOT, env=clean_environ(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def assert_unusable(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done
    for word in words:
        assert word in lines[0]
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        ("start-brokers", ["--max-topics=none"], ["--max-topics", "none"]),
        ("start-brokers", ["--memory=1XB"], ["--memory", "1XB"]),
        ("start-brokers", ["--no-such-setting=1"], ["--no-such-setting"]),
        ("start-brokers", ["0"], ["0"]),
        ("start-brokers", ["--config=/nowhere/fanmail.toml"], ["/nowhere/fanmail.toml"]),
        ("start-brokers", ["--ids=b9"], ["b9"]),
        ("start-brokers", ["--run-dir=/proc/nowhere"], ["/proc/nowhere"]),
        ("start-fronts", ["--port=70000"], ["--port", "70000"]),
        ("start-fronts", ["--broker-timeout=fast"], ["--broker-timeout", "fast"]),
        ("start-fronts", ["--host=no.such.host.invalid"], ["no.such.host.invalid"]),
        ("start-fronts", ["many"], ["many"]),
        ("start-fronts", ["--log-level=loud"], ["--log-level", "loud"]),
    ],
)
def test_a_setting_that_cannot_be_used_is_one_clear_line(
    folder: Path, script: str, arguments: list[str], words: list[str]
) -> None:
    given = [] if any(each.startswith("--run-dir") for each in arguments) else [f"--run-dir={folder}/run"]
    assert_unusable(run(script, *arguments, *given), *words)


def test_a_run_dir_that_is_too_long_for_sockets_is_one_clear_line(folder: Path) -> None:
    assert_unusable(run("start-brokers", "1", f"--run-dir={folder}/{'d' * 100}"), "107", "--run-dir")


def test_a_second_supervisor_in_the_same_run_dir_is_refused(folder: Path, start_supervised: StartSupervised) -> None:
    first = start_supervised("start-brokers", "1", f"--run-dir={folder}/run")
    wait_for(lambda: '"serving"' in first.process.log())
    children = first.children()
    assert_unusable(run("start-brokers", "3", f"--run-dir={folder}/run"), "already in use", str(first.process.pid))
    assert first.children() == children


def test_help_lists_the_settings() -> None:
    for script, flag in (("start-brokers", "--max-topics"), ("start-fronts", "--broker-timeout")):
        done = run(script, "--help")
        assert done.returncode == 0
        assert flag in done.stdout
        assert f"FANMAIL_{flag[2:].replace('-', '_').upper()}" in done.stdout


def test_a_front_without_a_description_waits_for_it(folder: Path, start_supervised: StartSupervised) -> None:
    port = free_ports(1)
    fronts = start_supervised("start-fronts", "1", f"--port={port}", "--ops-port=0", f"--run-dir={folder}/run")
    front = Front(fronts.process, port)
    wait_for(lambda: '"serving"' in fronts.process.log())
    assert front.web.call("GET", "/livez").status == 200
    assert not front.ready(strict=False)
    answer = front.web.subscribe("t", "u")
    assert (answer.status, answer.code) == (503, "broker-down")
    start_supervised("start-brokers", "1", f"--run-dir={folder}/run")
    wait_for(front.ready, "the front to find the brokers")
    assert front.web.subscribe("t", "u").status == 200
    front.forget()


@pytest.mark.slow
def test_a_supervisor_that_is_killed_can_be_started_again_at_once(
    folder: Path, start_supervised: StartSupervised
) -> None:
    """Start it while its children are stopping and wait for others: a broker for its fronts, a front for a request."""
    port = free_ports(2)
    flags = {
        "start-brokers": ("1", "--run-dir=run", "--store=sqlite", f"--data={folder}/data"),
        "start-fronts": ("1", "--run-dir=run", f"--port={port}", f"--ops-port={port + 1}"),
    }

    def start_again(name: str) -> None:
        first[name].process.kill()
        again = start_supervised(name, *flags[name], cwd=folder)
        wait_for(lambda: "waiting for a process that is stopping" in again.process.log(), "the wait")

    first = {name: start_supervised(name, *each, cwd=folder) for name, each in flags.items()}
    wait_for(lambda: is_ready(port), "the front")
    (front,) = first["start-fronts"].children()
    os.kill(front, signal.SIGSTOP)
    start_again("start-brokers")
    os.kill(front, signal.SIGCONT)
    wait_for(lambda: is_ready(port), "the new broker")
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(b"POST /t/u HTTP/1.1\r\nHost: a\r\n")
        wait_for(lambda: is_ready(port), "the front, which has accepted it")
        start_again("start-fronts")
    wait_for(lambda: not alive(front) and is_ready(port), "the new front")


@pytest.mark.slow
def test_a_run_directory_that_is_removed_comes_back(folder: Path, start_supervised: StartSupervised) -> None:
    port = free_ports(2)
    brokers = start_supervised("start-brokers", "1", "--run-dir=run", cwd=folder)
    start_supervised("start-fronts", "1", f"--port={port}", f"--ops-port={port + 1}", "--run-dir=run", cwd=folder)
    wait_for(lambda: is_ready(port), "the front")
    names = {"b0.lock", "b0.ready", "b0.sock", "b0.sock.lock", "brokers.lock", "cluster.toml"}
    shutil.rmtree(folder / "run")
    wait_for(lambda: {each.name for each in (folder / "run").glob("*")} >= names, "all files")
    late = start_supervised("start-fronts", "1", "--port=0", "--ops-port=0", "--run-dir=run", cwd=folder)
    where = wait_for(lambda: late.process.event("serving"), "another front")
    wait_for(lambda: is_ready(where["port"]), "another front")
    again = run("start-brokers", "1", "--run-dir=run", cwd=folder)
    assert (again.returncode, "already in use" in again.stderr) == (2, True)
    assert brokers.process.running


@pytest.mark.slow
def test_of_two_brokers_in_one_run_directory_the_older_ends(folder: Path, start_supervised: StartSupervised) -> None:
    """Remove the locks, so that another broker creates them first."""
    first = start_supervised("start-brokers", "1", "--run-dir=run", cwd=folder)
    wait_for((folder / "run" / "b0.ready").exists, "the first broker")
    (broker,) = first.children()
    for pid in (first.process.pid, broker):
        os.kill(pid, signal.SIGSTOP)
    shutil.rmtree(folder / "run")
    second = start_supervised("start-brokers", "1", "--run-dir=run", cwd=folder)
    wait_for(lambda: "serving" in second.process.log(), "the second broker")
    os.kill(broker, signal.SIGCONT)
    wait_for(lambda: "another broker has been started in the place of this one" in first.process.log(), "the end")
    os.kill(first.process.pid, signal.SIGCONT)
    assert first.process.popen.wait(PATIENCE) == 1
    assert not alive(broker)
    assert len(second.children()) == 1
