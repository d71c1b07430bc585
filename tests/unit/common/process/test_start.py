"""What surrounds the servers: run directory, locks, readiness, cluster description, ports, starters."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from broker import start as brokers
from broker.tools import backup, control
from common import config_sources
from common.cluster import description
from common.cluster.description import load_cluster
from common.cluster.description_edit import write_slots
from common.cluster.slots import SlotOwner
from common.config import BrokerSettings, FrontSettings, Settings
from common.config_sources import S
from common.errors import StartError
from common.process import folders, front_ports, locks, readiness, start, terminal, variables
from common.process.supervise import Child
from common.program import launcher, program
from common.tools import quickstart
from common.tools.quickstart import parse, tour
from httpfront import start as fronts
from tests.e2e.cluster import free_ports

ROOT = Path(__file__).resolve().parents[4]
CLUSTER = '[[brokers]]\nid = "x"\nendpoint = "ipc:///tmp/x"\n[[brokers]]\nid = "y"\nendpoint = "ipc:///tmp/y"\n'


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("FANMAIL_")]:
        monkeypatch.delenv(name)


def python(code: str, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# --- the run directory


def test_a_missing_run_directory_is_made_for_its_owner_only(tmp_path: Path) -> None:
    folder = folders.private_dir(tmp_path / "a" / "run")
    assert folder.stat().st_mode & 0o777 == 0o700


def test_an_empty_run_directory_that_is_open_to_others_is_closed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o755)
    assert folders.private_dir(tmp_path / "run").stat().st_mode & 0o777 == 0o700


def test_a_relative_run_directory_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert folders.private_dir("run") == tmp_path / "run"
    assert folders.private_dir("run/../run") == tmp_path / "run"


def test_a_run_directory_with_foreign_files_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "notes").touch()
    with pytest.raises(StartError, match="home: is accessible to other users"):
        folders.private_dir(folder)
    assert folder.stat().st_mode & 0o777 == 0o755


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(StartError, match="link: is a symbolic link"):
        folders.private_dir(tmp_path / "link")


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="file: File exists"):
        folders.private_dir(tmp_path / "file")


def test_the_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(StartError, match="belongs to another user"):
        folders.private_dir(tmp_path)


# --- locks


def test_a_lock_names_its_holder_to_the_second_process(tmp_path: Path) -> None:
    handle = locks.lock_file(tmp_path / "b0.lock")
    assert not os.get_inheritable(handle)
    second = python(
        "import sys; from common.process.locks import lock_file; lock_file(sys.argv[1])", str(tmp_path / "b0.lock")
    )
    _, err = second.communicate()
    assert f"b0.lock: already in use by process {os.getpid()}" in err
    os.close(handle)


def test_a_lock_is_free_again_when_its_holder_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "b0.lock"
    holder = python(
        "import sys; from common.process.locks import lock_file; lock_file(sys.argv[1]); print(); input()",
        str(path),
    )
    with holder:
        # flush happens at input(): the line means that the lock is held
        assert holder.stdout
        assert holder.stdout.readline() == "\n"
        with pytest.raises(StartError, match=f"process {holder.pid}$"):
            locks.lock_file(path)
        holder.kill()
    os.close(locks.lock_file(path))
    assert path.read_text() == f"{os.getpid():<19}\n"


def test_a_lock_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"no/b0\.lock: No such file or directory"):
        locks.lock_file(tmp_path / "no" / "b0.lock")


# --- readiness and the supervisor


def test_readiness_is_said_once_and_never_to_what_has_the_descriptor_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read_end, write_end = os.pipe()
    monkeypatch.setenv("FANMAIL_READY_FD", str(write_end))
    readiness.announce_ready()
    with open(read_end, "rb") as pipe:
        assert pipe.read() == b"1\n"
    with socket.create_server(("127.0.0.1", 0)) as other:
        os.dup2(other.fileno(), write_end)
    with monkeypatch.context() as patched, os.fdopen(write_end, "rb"):
        patched.setattr(os, "write", lambda *_: pytest.fail("said again"))
        readiness.announce_ready()


@pytest.mark.parametrize("value", ["", "seven", "987654"])
def test_readiness_to_nobody_is_ignored(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FANMAIL_READY_FD", value)
    readiness.announce_ready()


def test_readiness_to_a_supervisor_that_is_gone_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    monkeypatch.setenv("FANMAIL_READY_FD", str(write_end))
    readiness.announce_ready()


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_systemd_hears_of_readiness_and_of_the_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    address = str(tmp_path / "notify") if kind == "path" else f"\0fanmail-test-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", address.replace("\0", "@"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        readiness.announce_ready()
        readiness.announce_stopping()
        assert (systemd.recv(100), systemd.recv(100)) == (b"READY=1", b"STOPPING=1")


@pytest.mark.parametrize("value", ["", "relative", "/nobody/listens/here", "@nor-here"])
def test_where_systemd_does_not_listen_nothing_fails(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", value)
    readiness.announce_ready()


def test_a_systemd_that_reads_nothing_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        for _ in range(2000):  # far more than a socket holds
            readiness.announce_ready()


def test_a_process_whose_supervisor_is_gone_already_ends() -> None:
    child = python(
        "from common.process.readiness import die_with_parent; die_with_parent(); print('on')", FANMAIL_SUPERVISOR="1"
    )
    assert child.communicate() == ("", "")
    assert child.returncode == 1


OUTLIVES = """
import os, sys
from common.process.readiness import die_with_parent
die_with_parent()
parent = os.getppid()
print("on", flush=True)
while os.getppid() == parent:
    os.sched_yield()
print("still on")
"""


def test_a_process_without_a_supervisor_outlives_its_parent() -> None:
    middle = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]]); sys.stdin.read()"
    with python(middle, OUTLIVES) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == "on\n"
        assert parent.communicate()[0] == "still on\n"


# --- exit codes


def raises(error: BaseException) -> Any:
    def main() -> int:
        raise error

    return main


@pytest.mark.parametrize(
    ("main", "code", "err"),
    [
        (lambda: 0, 0, ""),
        (lambda: 7, 7, ""),
        (raises(StartError("no such thing")), 2, "prog: no such thing\n"),
        (raises(StartError("--port: no", "prog api")), 2, "prog api: --port: no\n"),
        (raises(StartError("a\nb")), 2, "prog: a b\n"),
        (raises(KeyboardInterrupt()), 0, ""),
    ],
)
def test_a_start_error_is_one_line_and_exit_code_2(main: Any, code: int, err: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as caught:
        start.run_main(main, "prog")
    assert caught.value.code == code
    assert capsys.readouterr() == ("", err)


# --- the cluster description


def test_the_description_is_the_given_file_where_it_has_brokers(tmp_path: Path) -> None:
    with_brokers, without = tmp_path / "cluster.toml", tmp_path / "settings.toml"
    with_brokers.write_text(CLUSTER)
    without.write_text("[fanmail]\n")
    run_dir = str(tmp_path / "run")
    assert description.description_path(Settings(config=str(with_brokers), run_dir=run_dir)) == with_brokers
    assert description.description_path(Settings(config=str(without), run_dir=run_dir)) == tmp_path / "run/cluster.toml"
    assert description.description_path(Settings(run_dir=run_dir)) == tmp_path / "run/cluster.toml"
    with pytest.raises(StartError, match=r"gone\.toml: No such file"):
        description.description_path(Settings(config=str(tmp_path / "gone.toml")))


def test_the_same_brokers_keep_the_epoch_and_others_get_the_next(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    brokers.write_description(tmp_path, 2, now=100)
    first = path.stat()
    assert load_cluster(path).epoch == 100
    brokers.write_description(tmp_path, 2, now=200)
    assert path.stat() == first
    brokers.write_description(tmp_path, 3, now=300)
    assert (load_cluster(path).epoch, len(load_cluster(path).brokers)) == (101, 3)
    assert os.listdir(tmp_path) == ["cluster.toml"]


def test_more_brokers_leave_the_slots_where_they_are(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    brokers.write_description(tmp_path, 2, now=100)
    table = [SlotOwner("b0", 3)] * 1000 + [SlotOwner("b1", 1)] * 24
    write_slots(path, table, ["b0", "b1"])
    brokers.write_description(tmp_path, 3, now=300)
    found = load_cluster(path)
    assert (found.epoch, len(found.brokers), found.table) == (102, 3, tuple(table))
    brokers.write_description(tmp_path, 1, now=300)  # a table without its owners is of no use
    assert (load_cluster(path).epoch, load_cluster(path).explicit) == (103, False)


def test_a_description_that_cannot_be_read_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "cluster.toml").write_text("[[brokers]\n")
    brokers.write_description(tmp_path, 1, now=300)
    assert load_cluster(tmp_path / "cluster.toml").epoch == 300


def test_a_run_directory_too_long_for_sockets_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    with pytest.raises(StartError, match="use a shorter --run-dir"):
        brokers.write_description(folder, 1, now=300)
    assert not os.listdir(folder)


# --- ports


def test_front_n_listens_on_the_first_port_and_n() -> None:
    assert front_ports.ports_of(8100, 3) == [8100, 8101, 8102]
    assert front_ports.ports_of(65535, 1) == [65535]
    assert front_ports.ports_of(0, 2) == [0, 0]
    with pytest.raises(StartError, match="port 65536 is over 65535"):
        front_ports.ports_of(65534, 3)


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=rf"^port {port} on 127\.0\.0\.1 is in use$"):
            front_ports.check_ports(["127.0.0.1"], [port])
    front_ports.check_ports(["127.0.0.1"], [port])


def test_a_host_that_is_not_ours_is_named() -> None:
    with pytest.raises(StartError, match=r"port 8100 on 192\.0\.2\.1 cannot be used: "):
        front_ports.check_ports(["192.0.2.1"], [8100])


# --- the starters, with the supervisor replaced


class Recorded:
    """Stands in for `Supervisor`."""

    children: list[Child]

    def __init__(self, children: list[Child], *_: object, **__: object) -> None:
        Recorded.children = children

    def run(self) -> int:
        return 0


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs a starter's main with some arguments and returns the command lines of its children by name."""

    def run(module: ModuleType, *argv: str) -> dict[str, list[str]]:
        held: list[int] = []
        monkeypatch.setattr(sys, "argv", ["start", f"--run-dir={tmp_path / 'run'}", *argv])
        monkeypatch.setattr(module, "Supervisor", Recorded)
        monkeypatch.setattr(module, "setup_logging", lambda *_: None)
        if hasattr(module, "hold_lock"):
            monkeypatch.setattr(module, "hold_lock", lambda path, _: held.append(locks.lock_file(path)))
        try:
            assert module.main() == 0
        finally:
            for handle in held:
                os.close(handle)
        return {child.name: child.argv for child in Recorded.children}

    return run


def parsed(role: type[S], argv: list[str]) -> S:
    """What a child of the starters would take its settings to be."""
    assert argv[:2] == [sys.executable, "-m"]
    return config_sources.load(role, argv[2], argv[3:])[0]


def test_four_brokers_are_the_default(launch: Any, tmp_path: Path) -> None:
    children = launch(brokers)
    assert list(children) == ["b0", "b1", "b2", "b3"]
    settings = parsed(BrokerSettings, children["b2"])
    assert (settings.id, settings.config) == ("b2", str(tmp_path / "run" / "cluster.toml"))
    assert settings.run_dir == str(tmp_path / "run")
    assert len(load_cluster(settings.config).brokers) == 4


def test_settings_reach_each_broker(launch: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FANMAIL_MAX_TOPICS", "7")
    file = tmp_path / "settings.toml"
    file.write_text("[fanmail]\nmax-messages = 9\n")
    children = launch(brokers, "2", "--memory", "2GiB", f"--config={file}")
    monkeypatch.delenv("FANMAIL_MAX_TOPICS")
    for name in ("b0", "b1"):
        settings = parsed(BrokerSettings, children[name])
        assert (settings.id, settings.memory, settings.max_topics, settings.max_messages) == (
            name,
            2**31,
            7,
            9,
        )


def test_each_broker_is_told_where_the_rules_of_topics_are(launch: Any, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[[topics]]\npattern = "*"\nmax_messages = 1\n')
    for flags, path in (([f"--config={file}"], file), ([f"--config={file}", "--topics=/other"], Path("/other"))):
        for argv in launch(brokers, "2", *flags).values():
            settings = parsed(BrokerSettings, argv)
            assert settings.topics == str(path)
            assert settings.config == str(tmp_path / "run" / "cluster.toml"), "which has none"
    assert parsed(BrokerSettings, launch(brokers, "1")["b0"]).topics == ""


def test_an_id_given_twice_is_started_once(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(CLUSTER)
    assert [each.id for each in brokers.chosen(load_cluster(file), ("y", "x", "y"))] == ["y", "x"]


CANDIDATES = (("b0", "h1", "h2"), ("b1", "h2", "h3"))
PAIRED = "".join(
    f'[[brokers]]\nid = "{broker}"\ncandidates = [\n'
    + "".join(f'  {{host = "{host}", endpoint = "ipc:///run/{host}/{broker}"}},\n' for host in hosts)
    + "]\n"
    for broker, *hosts in CANDIDATES
)


def test_a_host_starts_its_own_candidates(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(PAIRED)
    cluster = load_cluster(file)
    assert [each.name for each in brokers.chosen(cluster, (), "h2")] == ["b0@h2", "b1@h2"]
    assert [each.name for each in brokers.chosen(cluster, ("b1",), "h3")] == ["b1@h3"]
    for ids, host, message in (
        (("b0",), "h3", "--candidate 'h3' must be one of the candidates of broker 'b0': h1, h2"),
        ((), "h4", "--candidate 'h4' must be a host of the cluster description: h1, h2, h3"),
        ((), "", "--candidate None must be a host of the cluster description: h1, h2, h3"),
    ):
        with pytest.raises(StartError, match=message):
            brokers.chosen(cluster, ids, host)
    file.write_text(CLUSTER)
    with pytest.raises(StartError, match="have no candidates: leave --candidate out"):
        brokers.chosen(load_cluster(file), (), "h1")


def test_a_description_of_several_hosts_and_the_ids_of_this_one(launch: Any, tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(CLUSTER)
    assert list(launch(brokers, f"--config={file}")) == ["x", "y"]
    children = launch(brokers, f"--config={file}", "--ids=y")
    assert list(children) == ["y"]
    assert parsed(BrokerSettings, children["y"]).config == str(file)
    assert not (tmp_path / "run" / "cluster.toml").exists()
    with pytest.raises(StartError, match="broker 'z' is not in the cluster description"):
        launch(brokers, f"--config={file}", "--ids=y,z")
    with pytest.raises(StartError, match=r"give either N or a --config with \[\[brokers\]\]"):
        launch(brokers, "2", f"--config={file}")


@pytest.mark.parametrize("number", ["0", "65", "-1", "many", "1.5"])
def test_a_senseless_number_is_refused(launch: Any, number: str) -> None:
    for module in (brokers, fronts):
        with pytest.raises(StartError, match=r"is not a number from 1 to 64|unknown argument"):
            launch(module, number)


def test_a_second_starter_on_the_same_run_directory_is_refused(launch: Any, tmp_path: Path) -> None:
    launch(brokers)
    handle = locks.lock_file(tmp_path / "run" / "brokers.lock")
    with pytest.raises(StartError, match=f"already in use by process {os.getpid()}"):
        launch(brokers)
    os.close(handle)


def test_fronts_get_all_addresses_and_their_ports_are_free_on_each(launch: Any) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=rf"^port {port} on ::1 is in use$"):
            launch(fronts, "1", f"--port={port}", "--ops-port=0", "--host=127.0.0.1", "--host=::1")
    for argv in launch(fronts, "2", "--port=0", "--ops-port=0", "--host=::", "--ops-host", "127.0.0.1,[::1]").values():
        settings = parsed(FrontSettings, argv)
        assert (settings.host, settings.ops_host) == (("::",), ("127.0.0.1", "::1"))


def test_fronts_get_ports_in_a_row(launch: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        first = min(probe.getsockname()[1], 65000)
    children = launch(fronts, "1", f"--port={first}", "--ops-port=0", "--max-name=99")
    settings = parsed(FrontSettings, children[f"front-{first}"])
    assert (settings.port, settings.ops_port, settings.max_name) == (first, 0, 99)
    children = launch(fronts, "--port=0", "--ops-port=0")
    assert [parsed(FrontSettings, argv).port for argv in children.values()] == [0, 0, 0, 0]


def test_operations_ports_are_in_a_row_too(launch: Any) -> None:
    first = free_ports(2)
    children = launch(fronts, "2", "--port=0", f"--ops-port={first}")
    assert [parsed(FrontSettings, argv).ops_port for argv in children.values()] == [first, first + 1]
    with pytest.raises(StartError, match=r"--ops-port 65535 and 2 fronts: port 65536 is over 65535"):
        launch(fronts, "2", "--port=0", "--ops-port=65535")


def test_no_front_is_started_when_one_port_is_in_use(launch: Any) -> None:
    Recorded.children = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=rf"port {port} on 127\.0\.0\.1 is in use"):
            launch(fronts, "1", f"--port={port}", "--ops-port=0")
        with pytest.raises(StartError, match=rf"port {port} on 127\.0\.0\.1 is in use"):
            launch(fronts, "1", "--port=0", f"--ops-port={port}")
    assert not Recorded.children


def test_a_description_that_fronts_could_not_use_is_refused_at_the_start(launch: Any, tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text('[[brokers]]\nid = "x"\nendpoint = "tcp://127.0.0.1:7001"\n')
    for module in (brokers, fronts):
        with pytest.raises(StartError, match="TCP without a key"):
            launch(module, f"--config={file}")


# --- for real


def test_brokers_start_say_that_they_are_ready_and_stop(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    started = subprocess.Popen(
        [sys.executable, "-m", "broker.start", "2", f"--run-dir={tmp_path / 'run'}"],
        cwd=ROOT,
        env={**os.environ, "FANMAIL_READY_FD": str(write_end), "FANMAIL_SUPERVISOR": str(os.getpid())},
        pass_fds=[write_end],
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write_end)
    with started, open(read_end, "rb") as pipe:
        assert pipe.read() == b"1\n"
        assert {"b0.sock", "b1.sock", "cluster.toml"} <= set(os.listdir(tmp_path / "run"))
        started.send_signal(signal.SIGTERM)
        _, err = started.communicate()
    assert started.returncode == 0, err


def test_the_tour_goes_to_the_ports_that_were_asked_for() -> None:
    text = tour(parse(["--brokers=2", "--fronts=3", "--port=9000"]))
    assert "2 brokers and 3 fronts on 127.0.0.1:9000 to 9002" in text
    assert "http://127.0.0.1:9002/news/alice" in text
    assert "%{http_code}\\n" in text
    single = ["--brokers=1", "--fronts=1", "--port=9000"]
    assert "1 broker and 1 front on 127.0.0.1:9000." in tour(parse(single))
    assert "http://127.0.0.1:9107/\n" in tour(parse([*single, "--ops-port=9107"]))
    assert "dashboard" not in tour(parse([*single, "--ops-port=0"])), "where each front picks its own port"


def test_the_tour_of_fronts_that_ask_for_keys_sends_one() -> None:
    text = tour(parse(["--api-keys-file=keys.toml"]))
    commands = [line.strip() for line in text.splitlines() if line.strip().startswith("curl")]
    assert len(commands) > 5
    assert all(each.startswith('curl -H "Authorization: Bearer $FANMAIL_API_KEY" ') for each in commands)


def test_the_quickstart_keeps_messages_where_a_directory_is_named_and_says_where_they_are(
    launch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = ["--fronts=1", f"--port={free_ports(2)}", "--ops-port=0"]
    assert not [each for each in launch(quickstart, *ports)["start-brokers"] if each.startswith("--store")]
    for flags, folder in ((["--durable"], "fanmail-data"), (["--data=here"], "here"), (["--durable", "--data=x"], "x")):
        assert {"--store=sqlite", f"--data={folder}"} <= set(launch(quickstart, *ports, *flags)["start-brokers"])
        assert f"kept in {folder} " in tour(parse(flags)).splitlines()[-1]
    monkeypatch.setenv("FANMAIL_DATA", "there")
    assert "--data=there" in launch(quickstart, *ports)["start-brokers"]
    monkeypatch.delenv("FANMAIL_DATA")
    assert tour(parse([])).splitlines()[-1].startswith("Messages are in memory and are lost")


def test_the_quickstart_logs_what_needs_attention_only(launch: Any) -> None:
    ports = ["--fronts=1", f"--port={free_ports(2)}", "--ops-port=0"]
    for flags, level in (([], "warning"), (["--log-level=info"], "info")):
        for argv in launch(quickstart, *ports, *flags).values():
            assert f"--log-level={level}" in argv


def test_ports_that_overlap_are_refused_before_anything_starts(launch: Any) -> None:
    port = free_ports(5)
    for module, count in ((quickstart, "--fronts=3"), (fronts, "3")):
        with pytest.raises(StartError, match=f"overlap: port {port + 2} would be both, with 3 fronts"):
            launch(module, count, f"--port={port}", f"--ops-port={port + 2}")
        assert launch(module, count, "--port=0" if module is fronts else f"--port={port}", "--ops-port=0")


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--store=sqlite"], "--store sqlite needs --data"),
        (["--data=here"], "--data here is for --store sqlite"),
        (["--store=sqlite", "--data=/proc/none"], "store directory /proc/none/b0: No such file"),
    ],
)
def test_a_store_that_cannot_be_used_is_refused_before_a_broker_starts(
    launch: Any, flags: list[str], text: str
) -> None:
    with pytest.raises(StartError, match=text):
        launch(brokers, "2", *flags)


def test_a_backup_of_brokers_that_do_not_run_is_refused_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "CONNECT_S", 0.01)
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(sys, "argv", ["backup", str(tmp_path / "copy"), f"--run-dir={tmp_path / 'run'}"])
    with pytest.raises(StartError, match="no brokers were started with run directory"):
        backup.main()
    brokers.write_description(tmp_path / "run", 1, now=100)
    with pytest.raises(StartError, match=r"broker b0: nothing answers at ipc://.*b0\.sock: is the broker running\?$"):
        backup.main()
    monkeypatch.setattr(sys, "argv", ["backup", str(tmp_path / "copy"), "--memory=1G"])
    with pytest.raises(StartError, match="unknown argument '--memory=1G'"):
        backup.main()


def test_a_variable_that_is_nearly_a_setting_is_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("FANMAIL_PORTT", "FANMAIL_SERVICE_HOST", "FANMAIL_URL", "FANMAIL_PORT"):
        monkeypatch.setenv(name, "1")
    variables.warn_of_misspelt_variables(logging.getLogger("test"))
    monkeypatch.setenv("FANMAIL_SUPERVISOR", "1")
    variables.warn_of_misspelt_variables(logging.getLogger("test"))
    (record,) = caplog.records
    assert (vars(record)["variable"], vars(record)["did_you_mean"]) == ("FANMAIL_PORTT", "FANMAIL_PORT")


def test_memory_that_is_too_small_and_missing_keys_are_refused_before_a_front_starts(launch: Any) -> None:
    with pytest.raises(StartError, match="--buffer-memory 1MiB must be at least 32MiB, four times"):
        launch(fronts, "1", "--port=0", "--ops-port=0", "--buffer-memory=1M")
    with pytest.raises(StartError, match="/nonexistent: No such file"):
        launch(quickstart, f"--port={free_ports(2)}", "--fronts=1", "--ops-port=0", "--api-keys-file=/nonexistent")
    with pytest.raises(StartError, match=r"^/nonexistent: No such file or directory$"):
        launch(fronts, "--config=/nonexistent")


def test_colours_are_those_of_a_terminal_that_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    leader, follower = os.openpty()
    with open(follower, "w") as stream, open(os.devnull, "w") as elsewhere:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.delenv("NO_COLOR", raising=False)
        assert (terminal.has_colours(stream), terminal.has_colours(elsewhere)) == (True, False)
        monkeypatch.setenv("NO_COLOR", "1")
        assert not terminal.has_colours(stream)
    os.close(leader)
    assert (
        terminal.coloured("Hi:\n\n  # why\n  curl x\n") == "Hi:\n\n  \x1b[2m# why\x1b[0m\n  \x1b[1;36mcurl x\x1b[0m\n"
    )


def test_programs_are_named_as_their_users_call_them() -> None:
    names = ("start-fronts", "keys", "front")
    assert [launcher(each, False) for each in names] == ["bin/start-fronts", "bin/keys", "python -m httpfront"]
    assert [launcher(each, True) for each in names] == [
        f"fanmail-server {each}" for each in ("fronts", "keys", "front")
    ]
    assert (program("start-fronts", False), program("start-fronts", True)) == ("start-fronts", "fanmail-server fronts")
