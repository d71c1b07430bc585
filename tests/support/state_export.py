"""What is in the copy of a candidate's store, as plain values: two candidates at one position must have the same."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from broker.state.body_cache import BodyCache
from broker.state.state import State
from broker.store.base import Owner
from broker.store.sqlite.files import FILE
from broker.store.sqlite.log_state import LogStateStore
from tests.support.snapshot import snapshot

IN_MEMORY = 2**30
"""Bytes of bodies."""


class Export(NamedTuple):
    """A state, and where in its log it is."""

    term: int
    number: int
    state: dict[str, Any]


def export(copy: Path, owner: Owner, log_id: str) -> Export:
    """Return what is in the copy of a store, which stays as it is."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(copy, Path(folder) / FILE)
        store = LogStateStore(Path(folder), owner, "", -(2**40), log_id)
        try:
            state = State(bodies=BodyCache(store.read, IN_MEMORY), durable=True)
            for record in store.load():
                state.apply(record)
            facts = store.log_facts
            return Export(int(facts["term"]), int(facts["number"]), snapshot(state))
        finally:
            store.close()
