"""Rounds of load with faults against brokers on replicated logs: candidates, NATS nodes, and both at once."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from broker.replica.jetstream.streams import ask
from broker.replica.thresholds import DEFAULT
from broker.store.base import Owner
from common.process.start import AGAIN
from common.protocol import log_stats, ops
from common.protocol.ops import Op
from tests.e2e.cluster import PATIENCE, Process, Reply, wait_for
from tests.e2e.load import Load
from tests.e2e.replicated import HOSTS, ReplicatedCluster
from tests.soak.figures import Sample, measure
from tests.soak.outages import answers, ask_paused, await_served
from tests.soak.rounds import Rounds
from tests.support.nats_cluster import NatsCluster
from tests.support.state_export import Export, export

TIMEOUT = 2.0
"""Of a call of a front, seconds."""
EXPECTED = {-signal.SIGKILL, AGAIN, 0}
"""Exit codes: killed, deposed, and asked to stop."""
ELECTION_S = 60.0
"""How long NATS may take until a stream is whole again; its elections take 4 s to 9 s each."""
SILENCE_S = DEFAULT.silence_s
SHORT_S, LONG_S = 1.0, 30.0
"""Of a pause."""
SLOW_S = 4.0
"""Longer outages are noted, with `CAUSES`."""
CAUSES = {log_stats.REFUSED, log_stats.UNKNOWN, log_stats.TAKEOVERS}
COMPARED = 4
"""Attempts to find two candidates at the same entry."""


class ReplicatedSoak(Rounds):
    """Each fault is done to one broker and its log; the next one comes when all is whole again."""

    modes = {"bob": "many", "dan": "after-many", "fay": "lease-many"}  # noqa: RUF012 - never changed
    publishers = ("single", "keyed-batch")

    def __init__(
        self, nats: NatsCluster, cluster: ReplicatedCluster, seed: int, round_seconds: float, pace_s: float = 0.0
    ) -> None:
        """Use servers and candidates of its own, which `close` ends."""
        super().__init__(seed, round_seconds, pace_s)
        self.nats = nats
        self.cluster: ReplicatedCluster = cluster
        self.found: list[str] = []
        """What is wrong, besides what the histories show."""
        self.longest_s = LONG_S
        """Of a pause."""
        self.faults = {
            "owner kill -9": self._kill_owner,
            "owner SIGTERM": self._stop_owner,
            "owner SIGSTOP": self._pause_owner,
            "standby kill -9": self._kill_standby,
            "leader kill -9": self._kill_leader,
            "NATS node kill -9": self._kill_node,
            "all NATS nodes kill -9": self._kill_all_nodes,
            "owner and leader kill -9": self._kill_owner_and_leader,
            "leader SIGSTOP": self._pause_leader,
            "leader moved": self._move_leader,
        }

    def close(self) -> None:
        """Nothing is left behind."""
        self.cluster.logs.clear()  # they go with their servers, which may not answer
        self.cluster.close()
        self.nats.close()

    def about(self) -> str:
        """Return the logs of all processes for a report."""
        return f"{super().about()}\n{self.nats.about()}"

    def make_load(self, topics: list[str]) -> Load:
        """Return clients with large batches: what counts is how much was acknowledged."""
        load = super().make_load(topics)
        return Load(
            load.ports, topics, load.users, True, self.modes, self.publishers, 4 * PATIENCE, self._pace_s,
            batch=100, many=100, backlog=400,
        )  # fmt: skip

    def measured(self) -> Sample:
        """Return the figures of an owner."""
        owner = self.cluster.owner(self._brokers[0])
        return measure(self.cluster, self.cluster.candidates[owner], self.cluster.fronts[-1].process)

    def clear(self, load: Load) -> list[str]:
        """Compare the candidates of every broker before all unsubscribe; return what was found until then, too."""
        self.mend()
        self.found += [each for broker in self._brokers for each in self.differences(broker)]
        found, self.found = self.found + super().clear(load), []
        return found

    def differences(self, broker: str) -> list[str]:
        """Return how the standby differs from the owner, by their stores."""
        owner, standby = self.cluster.owner(broker), self.cluster.standby(broker)
        for _ in range(COMPARED):
            two = [self.export(name) for name in (standby, owner)]
            if two[0] == two[1] or two[0].state == two[1].state:
                return []
        names = [name for name in two[0].state if two[0].state[name] != two[1].state[name]]
        return [f"{standby} at {two[0][:2]} differs from {owner} at {two[1][:2]} in {names}"]

    def mend(self) -> None:
        """Start again whoever has ended, and wait until every log is whole and is followed."""
        for name, process in list(self.cluster.candidates.items()):
            if not process.running:
                self._note_end(name, process)
                self.cluster.start_broker(name)
        for broker, log in self.cluster.logs.items():
            wait_for(lambda log=log: self.nats.whole(log.stream), f"{log.stream} to be whole", ELECTION_S)
            wait_for(lambda broker=broker: self._follows(broker), f"the standby of {broker}", ELECTION_S)

    @property
    def _brokers(self) -> list[str]:
        return [each.id for each in self.cluster.map.brokers]

    def _follows(self, broker: str) -> bool:
        cluster = self.cluster
        owners = [name for name in cluster.candidates if name.startswith(f"{broker}@") and self._is_owner(name)]
        if len(owners) != 1:
            return False
        (other,) = (f"{broker}@{host}" for host in HOSTS if f"{broker}@{host}" != owners[0])
        if not cluster.candidates[other].running:
            self._note_end(other, cluster.candidates[other])
            cluster.start_broker(other)
            return False
        try:
            ahead, behind = cluster.replica(owners[0]), cluster.replica(other)
        except Exception:  # it loads
            return False
        return behind.term == ahead.term and behind.number >= ahead.number - 5

    def _is_owner(self, name: str) -> bool:
        try:
            return self.cluster.candidates[name].running and self.cluster.replica(name).role == "owner"
        except Exception:  # it loads
            return False

    def _note_end(self, name: str, process: Process) -> None:
        code = process.popen.returncode
        if code not in EXPECTED:
            self.found.append(f"{name} has ended with exit code {code}: {process.log().splitlines()[-3:]}")
        self.figures.faults["deposed"] += code == AGAIN

    def export(self, name: str) -> Export:
        """Return what is in the store of a candidate."""
        args = ops.Backup(f"backup-{time.monotonic_ns()}.db")
        with self.cluster.candidate(name) as peer:
            path = Path(wait_for(lambda: _path_of(peer.ask(Op.BACKUP, args=args)), f"a copy of {name}"))
        try:
            broker = name.partition("@")[0]
            owner = Owner(self.cluster.cluster_name, broker)
            return export(path, owner, self.cluster.logs[broker].log_id.hex())
        finally:
            path.unlink(missing_ok=True)

    def _chosen(self) -> str:
        return self.rng.choice(self._brokers)

    def _outage(self, broker: str, fault: str, began: float = 0.0) -> None:
        """Wait until a broker serves, and note how long that took, since now or `began`."""
        began = began or time.monotonic()
        await_served(self.cluster.fronts[-1].port, self.cluster.topic(broker, "probe"))
        seconds = time.monotonic() - began
        self.figures.outages[fault].append(seconds)
        if seconds > SLOW_S:
            self._explain(broker, fault, seconds)

    def _explain(self, broker: str, fault: str, seconds: float) -> None:
        """Note what may have caused an outage that has just ended, and when the log got its owner."""
        owner, began = self.cluster.owner(broker), time.time() - seconds
        counts = {name: count for name, count in self.cluster.stats(broker).items() if name in CAUSES}
        taken = [each["time"] for each in self.cluster.candidates[owner].events() if each["event"] == "owns the log"]
        since = [f"{datetime.fromisoformat(each).timestamp() - began:.2f} s" for each in taken[-1:]]
        self.figures.notes.append(f"{fault}: {seconds:.2f} s, {owner} owned the log after {since} {counts}")

    def _leader(self, broker: str) -> int:
        stream = self.cluster.logs[broker].stream
        return wait_for(lambda: _one_more(self.nats.leader_of(stream)), "a leader", ELECTION_S) - 1

    def _kill_owner(self) -> None:
        broker = self._chosen()
        self.cluster.candidates[self.cluster.owner(broker)].kill()
        self._outage(broker, "owner kill -9")
        self.mend()

    def _stop_owner(self) -> None:
        broker = self._chosen()
        self.cluster.candidates[self.cluster.owner(broker)].terminate()
        self._outage(broker, "owner SIGTERM")
        self.mend()

    def _kill_standby(self) -> None:
        broker = self._chosen()
        self.cluster.candidates[self.cluster.standby(broker)].kill()
        self._outage(broker, "standby kill -9")
        self.mend()

    def _kill_leader(self) -> None:
        broker = self._chosen()
        self._kill_nodes([self._leader(broker)], lambda: self._outage(broker, "leader kill -9"))

    def _move_leader(self) -> None:
        """As `bin/replica spread` does."""
        broker = self._chosen()
        name, leader = self.cluster.logs[broker], self._leader(broker)
        to = self.rng.choice([node.name for number, node in enumerate(self.nats.nodes) if number != leader])
        ask(self.cluster.access, lambda streams: streams.move_leader(name, to))
        self._outage(broker, "leader moved")
        self.mend()

    def _kill_node(self) -> None:
        broker, node = self._chosen(), self.rng.randrange(len(self.nats.nodes))
        self._kill_nodes([node], lambda: self._outage(broker, "NATS node kill -9"))

    def _kill_owner_and_leader(self) -> None:
        broker = self._chosen()
        owner, leader = self.cluster.owner(broker), self._leader(broker)
        self.cluster.candidates[owner].kill()
        self._kill_nodes([leader], lambda: self._outage(broker, "owner and leader kill -9"))

    def _kill_all_nodes(self) -> None:
        self._kill_nodes(list(range(len(self.nats.nodes))), lambda: None)

    def _kill_nodes(self, nodes: list[int], watch: Callable[[], None]) -> None:
        """Kill nodes, and start them again after `watch`."""
        for node in nodes:
            self.nats.kill(node)
        watch()
        began = time.monotonic()
        self.nats.restore()
        if len(nodes) > 1:
            self._outage(self._chosen(), "all NATS nodes kill -9", began)
        self.mend()

    def _pause_leader(self) -> None:
        broker, seconds = self._chosen(), self.rng.uniform(min(SHORT_S, self.longest_s), self.longest_s)
        leader, until = self._leader(broker), time.monotonic() + seconds
        self.nats.stop(leader)
        self._outage(broker, "leader SIGSTOP")
        time.sleep(max(0.0, until - time.monotonic()))
        self.nats.start(leader)
        self.mend()

    def _pause_owner(self) -> None:
        """Pause an owner. Once another one owns the log, it must not say anything that an owner may say."""
        broker, seconds = self._chosen(), self.rng.uniform(min(SHORT_S, self.longest_s), self.longest_s)
        name, until = self.cluster.owner(broker), time.monotonic() + seconds
        other = next(f"{broker}@{host}" for host in HOSTS if f"{broker}@{host}" != name)
        process, topic = self.cluster.candidates[name], self.cluster.topic(broker, "late")
        with self.cluster.candidate(name) as peer:
            peer.ping()
            process.signal(signal.SIGSTOP)
            ask_paused(peer, topic)
            self._outage_of_pause(broker, seconds)
            time.sleep(max(0.0, until - time.monotonic()))
            deposed = self._is_owner(other)
            process.signal(signal.SIGCONT)
            said = answers(peer)
        if deposed and said:
            self.found.append(f"{name} has answered after {other} owned the log: {said}")
        self.figures.faults["owner SIGSTOP, deposed"] += deposed
        self.figures.faults["owner SIGSTOP, not deposed, answered later"] += not deposed and bool(said)
        self.mend()

    def _outage_of_pause(self, broker: str, seconds: float) -> None:
        if seconds > 2 * SILENCE_S:
            self._outage(broker, "owner SIGSTOP")


def start_replicated(seed: int, round_seconds: float, pace_s: float, brokers: int = 2) -> ReplicatedSoak:
    """Start three NATS servers, brokers with two candidates each, and a front for each."""
    nats = NatsCluster()
    cluster = ReplicatedCluster(nats, brokers, fronts=brokers, front_settings=settings_of_fronts())
    return ReplicatedSoak(nats, cluster, seed, round_seconds, pace_s)


def settings_of_fronts() -> dict[str, object]:
    """Return the settings of the fronts of a soak."""
    return {"access_log": "off", "drain_idle": 0.3, "broker_timeout": TIMEOUT}


def _path_of(reply: Reply) -> str:
    """Return where a copy is; "": it is not complete, or too many were made lately."""
    return reply.result.path if not reply.code and reply.result.done else ""


def _one_more(number: int | None) -> int:
    return 0 if number is None else number + 1
