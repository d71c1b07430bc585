"""What goes wrong in a run, and when: drawn from the seed before it begins."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random

from common.errors import FanmailError
from tests.simulation.brokers import Broker
from tests.simulation.cluster import Cluster
from tests.simulation.disks import Death
from tests.simulation.network import Connection
from tests.simulation.replicas import ROOMY, Group
from tests.support.memory_log import Weather

FAULTS_END = 3.0
"""Seconds; nothing goes wrong afterwards."""


class Faults:
    """Of one run."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._world = cluster.world
        rng = self._rng = Random(f"{self._world.seed}/faults")
        kinds: list[Callable[[], None]] = [self._cut, self._cut, self._full, self._freeze_broker, self._freeze_front]
        kinds += [self._kill_front, self._stop_front, self._pause, self._set_clock]
        if cluster.restarts:
            kinds += [self._kill, *[self._kill_at_commit] * 4, self._kill_at_reply, self._stop]
        if cluster.groups:
            kinds += [
                self._log_away,
                self._log_away,
                self._log_cut,
                self._log_behind,
                self._log_weather,
                self._log_full,
            ]
            kinds += [self._hand_over, self._hand_over, self._kill_owner, self._kill_owner, self._freeze_owner]
        if cluster.slots is not None:
            cluster.slots.begin(rng, FAULTS_END)
        for _ in range(rng.randint(3, 9)):
            self._world.after(rng.uniform(0.2, FAULTS_END), rng.choice(kinds))
        self._world.after(FAULTS_END, self._heal)

    def _cut(self) -> None:
        """A connection, or all of them; the sides may notice late."""
        connections = [each for broker in self._cluster.brokers for each in self._of(broker)]
        if connections:
            chosen = connections if self._rng.random() < 0.2 else [self._rng.choice(connections)]
            for each in chosen:
                self._cluster.network.cut(each, self._notice(), self._notice())

    def _full(self) -> None:
        """Some connections take nothing for a while."""
        for broker in self._cluster.brokers:
            for each in self._of(broker):
                if self._rng.random() < 0.5:
                    each.full_until = self._world.now + self._rng.uniform(0.05, 1.0)
                    self._world.note("full", each.name)

    def _freeze_broker(self) -> None:
        self._rng.choice(self._cluster.brokers).freeze(self._freezing())

    def _freeze_front(self) -> None:
        self._rng.choice(self._cluster.fronts).freeze(self._freezing())

    def _kill_front(self) -> None:
        self._rng.choice(self._cluster.fronts).kill()

    def _stop_front(self) -> None:
        self._rng.choice(self._cluster.fronts).stop()

    def _kill(self) -> None:
        self._rng.choice(self._cluster.brokers).kill()

    def _kill_at_commit(self) -> None:
        death, of_message = self._rng.choice(list(Death)), self._rng.random() < 0.6
        self._rng.choice(self._cluster.brokers).kill_at_commit(death, of_message)

    def _kill_at_reply(self) -> None:
        self._rng.choice(self._cluster.brokers).kill_between_replies(self._rng.randint(0, 3))

    def _stop(self) -> None:
        self._rng.choice(self._cluster.brokers).stop()

    def _pause(self) -> None:
        """The operator pauses a broker for a while."""
        dispatcher = self._rng.choice(self._cluster.brokers).process.dispatcher
        if dispatcher is not None:
            context = dispatcher.context
            context.paused = True
            self._world.note("paused")
            self._world.after(self._rng.uniform(0.1, 1.0), lambda: setattr(context, "paused", False))

    def _set_clock(self) -> None:
        """Of the machine of a broker, wrong for a while or for good."""
        broker, seconds = self._rng.choice(self._cluster.brokers), self._rng.choice((-7200, -3.0, 3.0, 7200))
        broker.set_clock(seconds)
        if self._rng.random() < 0.8:
            self._world.after(self._rng.uniform(0.1, 3.0), lambda: broker.set_clock(-seconds))

    def _group(self) -> Group:
        return self._rng.choice(list(self._cluster.groups.values()))

    def _log_away(self) -> None:
        """The servers of a log elect a leader."""
        group, seconds = self._group(), self._rng.uniform(0.1, 3.0)
        self._world.note("log away", group.id, round(seconds, 3))
        group.shared.away_until = self._world.now + seconds

    def _log_cut(self) -> None:
        process = self._rng.choice(self._group().places).process
        if not process.task.ended:
            process.log.cut_for(self._rng.uniform(0.05, 2.0))

    def _log_behind(self) -> None:
        """A candidate is connected to a server that is cut off from the others."""
        process = self._rng.choice(self._group().places).process
        if not process.task.ended:
            process.log.fall_behind_for(self._rng.uniform(0.1, 3.0))

    def _log_weather(self) -> None:
        rng, share = self._rng, self._rng.choice((0.0, 0.02, 0.2))
        self._group().shared.weather = Weather(
            latency=rng.choice((0.001, 0.02, 0.1)),
            lost_request=share,
            lost_answer=rng.choice((0.0, share)),
            straggling=rng.choice((0.0, 0.05, 0.3)),
            lag=rng.choice((0.001, 0.05, 1.0, 2.0)),
            repeated=rng.choice((0.0, 0.2)),
        )

    def _log_full(self) -> None:
        group = self._group()
        self._world.note("log full", group.id)
        group.shared.max_bytes = max(1, group.shared.bytes)
        self._world.after(self._rng.uniform(0.1, 1.5), lambda: setattr(group.shared, "max_bytes", ROOMY))

    def _hand_over(self) -> None:
        """The operator moves a broker to another host."""
        owner = self._group().owner()
        server = owner.process.server
        if owner.process.owns and server is not None and server._succession is not None:
            with suppress(FanmailError):
                server._succession.hand_over("")
                self._world.note("hand over", owner.name)
                owner.process.task.wake()

    def _kill_owner(self) -> None:
        self._group().owner().kill()

    def _freeze_owner(self) -> None:
        self._group().owner().freeze(self._rng.uniform(0.5, 6.0))

    def _heal(self) -> None:
        self._world.note("healed")
        self._cluster.healed = True
        for group in self._cluster.groups.values():
            group.shared.weather = Weather()
        for broker in self._cluster.brokers:
            broker.process.task.frozen_until = 0.0
            if broker.process.store is not None:
                broker.process.store.death = None
            if broker.process.context is not None:
                broker.process.context.router.sends_left = None
            for each in self._of(broker):
                each.full_until = 0.0
        for front in self._cluster.fronts:
            front.process.task.frozen_until = 0.0

    def _of(self, broker: Broker) -> list[Connection]:
        router = self._cluster.network.routers.get(broker.endpoint)
        return list(router.peers.values()) if router is not None else []

    def _notice(self) -> float:
        """Seconds until one side knows of a cut: at once, or when a heartbeat stays away."""
        return self._rng.uniform(0.0, 0.01) if self._rng.random() < 0.7 else self._rng.uniform(0.1, 4.0)

    def _freezing(self) -> float:
        return self._rng.uniform(0.05, 1.0) if self._rng.random() < 0.7 else self._rng.uniform(1.0, 4.0)
