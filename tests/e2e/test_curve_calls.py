"""The promises hold over TCP with CURVE as over ipc: the same transcripts again, beside other clusters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.test_core_calls import *  # noqa: F403
from tests.e2e.test_messages import *  # noqa: F403
from tests.e2e.test_publishing import *  # noqa: F403

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def _shared() -> Iterator[Cluster]:
    """Replace the cluster that other tests share."""
    cluster = Cluster(brokers=2, fronts=2, front_settings={"idle_timeout": 3600}, curve=True)
    yield cluster
    cluster.close()


def test_the_brokers_have_keys(cluster: Cluster) -> None:
    """Control of the tests above: they do not use ipc."""
    assert all(broker.key and broker.endpoint.startswith("tcp:") for broker in cluster.map.brokers)
