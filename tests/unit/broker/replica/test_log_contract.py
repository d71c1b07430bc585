"""The log in memory, on which the rules above it are tested, keeps the contract of a log."""

from __future__ import annotations

from random import Random

import pytest

from broker.replica.log import Log
from tests.simulation.world import World
from tests.support.log_contract import Engine, LogContract
from tests.support.memory_log import MemoryLog, SharedLog, Weather


class MemoryEngine:
    """Of a seed; time is virtual."""

    def __init__(self, weather: Weather) -> None:
        self.world = World(Random(str(weather)).getrandbits(32))
        self.shared = SharedLog(self.world)
        self.shared.weather = weather
        self._calls = 0

    def open(self) -> Log:
        return MemoryLog(self.shared)

    def open_other(self) -> Log:
        other = SharedLog(self.world)
        other.commit(b"entry 1", 0)
        return MemoryLog(other)

    def limit(self, most_bytes: int) -> None:
        self.shared.max_bytes = most_bytes

    def pass_time(self) -> bool:
        until = self.world.now + 0.05
        self.world.after(0.05, lambda: None)
        self.world.run(lambda: self.world.now >= until, until + 1)
        self._calls += 1
        return self._calls < 10_000

    def cut(self, log: Log) -> None:
        assert isinstance(log, MemoryLog)
        log.cut_for(0.5)


@pytest.mark.parametrize(
    "weather",
    [Weather(), Weather(latency=0.2, lag=0.5, repeated=0.5)],
    ids=["good", "slow"],
)
class TestMemoryLog(LogContract):
    @pytest.fixture
    def engine(self, weather: Weather) -> Engine:
        return MemoryEngine(weather)
