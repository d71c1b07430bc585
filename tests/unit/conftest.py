"""Hypothesis profiles.

`few` and, with `--all`, `ci` use the same examples every time. `long` draws others, as many as wanted:
`HYPOTHESIS_PROFILE=long HYPOTHESIS_EXAMPLES=20000 bin/test tests/unit/broker/test_broker_model.py`.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.support.driver import BrokerDriver

_COMMON = {
    "deadline": None,
    "database": None,
    "phases": [Phase.explicit, Phase.generate, Phase.shrink],
    "report_multiple_bugs": False,
    "suppress_health_check": list(HealthCheck),
}

LONG = int(os.environ.get("HYPOTHESIS_EXAMPLES", "20000"))

settings.register_profile("few", max_examples=50, stateful_step_count=50, derandomize=True, **_COMMON)
settings.register_profile("ci", max_examples=100, stateful_step_count=50, derandomize=True, **_COMMON)
settings.register_profile("long", max_examples=LONG, stateful_step_count=50, print_blob=True, **_COMMON)


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if config.getoption("--all") else "few"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long run has no limit of time for one test; finding the smallest failing run may take its time."""
    for item in items:
        if settings.get_current_profile_name() == "long":
            item.add_marker(pytest.mark.timeout(0))
        elif item.name == "runTest":
            item.add_marker(pytest.mark.timeout(450))


@pytest.fixture
def broker() -> BrokerDriver:
    """A broker with room for everything and a store that keeps nothing."""
    return BrokerDriver()


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No setting of whoever runs the tests is seen; gives the monkeypatch to set others."""
    for name in [name for name in os.environ if name.startswith("FANMAIL_")]:
        monkeypatch.delenv(name)
    return monkeypatch
