"""Requests begin one per turn of the loop, those to targets first."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

from fanmail.forward.gate import Gate
from tests.client.forward.virtual import play

Turn = Callable[[], Awaitable[None]]


async def begun(order: list[str], name: str, turn: Turn) -> None:
    await turn()
    order.append(name)


def test_one_begins_per_turn_and_what_is_leased_first() -> None:
    async def main() -> list[str]:
        gate, order = Gate(), list[str]()
        kinds: dict[str, Turn] = {"read": gate.read, "send": gate.send}
        tasks = [asyncio.create_task(begun(order, f"{kind} {n}", kinds[kind])) for n in range(3) for kind in kinds]
        seen = []
        while len(order) < len(tasks):
            await asyncio.sleep(0)
            seen.append(len(order))
        steps = {after - before for before, after in itertools.pairwise(seen)}
        assert steps <= {0, 1}, "more than one in a turn"
        return order

    order, _ = play(main())
    assert order == ["send 0", "send 1", "send 2", "read 0", "read 1", "read 2"]


def test_what_is_cancelled_loses_its_turn_to_nobody() -> None:
    async def main() -> list[str]:
        gate, order = Gate(), list[str]()
        tasks = [asyncio.create_task(begun(order, str(n), gate.read)) for n in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.wait(tasks)
        await begun(order, "later", gate.send)
        return order

    assert play(main())[0] == ["0", "2", "3", "later"]
