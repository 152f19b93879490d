"""The most important faults, shortly: for the ordinary suite. The long ones are beside them."""

from __future__ import annotations

import asyncio
import signal
from itertools import pairwise
from pathlib import Path

import pytest

from .world import attempts, ends, ready, tally, world_in

pytestmark = pytest.mark.timeout(90)


@pytest.mark.faults
async def test_no_call_fails_while_instances_and_the_control_plane_are_replaced(
    tmp_path: Path,
) -> None:
    async with world_in(tmp_path) as world:
        plane = await world.plane()
        backends = await world.backends("a", "b")
        driver = await world.driver()
        await driver.do("ask")
        await driver.start(60)

        await ends(plane, signal.SIGKILL)
        await world.plane()
        for number, name in enumerate("ab"):
            await ready(backends[number])
            assert await ends(backends[number], signal.SIGTERM) == 0
            backends[number] = await world.backend(name)
            await ready(backends[number])
        calls = await driver.stop()

    assert tally(calls) == {"OK": len(calls)}


async def test_failing_instances_are_spared_but_never_most_of_them(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        await world.plane()
        backends = await world.backends("a", "b", "c")
        driver = await world.driver()
        await driver.start(120, "fail:b:0.5")

        async def is_spared() -> bool:
            before = await attempts(backends[1:2])
            await asyncio.sleep(0.5)
            return await attempts(backends[1:2]) == before

        async with asyncio.timeout(15):
            while not await is_spared():
                pass
        await driver.stop()
        before = await attempts(backends[:1]), await attempts(backends[2:])
        # Now all of them fail: the other two go on being called.
        await driver.start(60, "fail:*:1")
        await asyncio.sleep(1.5)
        await driver.stop()
        after = await attempts(backends[:1]), await attempts(backends[2:])

    assert all(later > earlier for earlier, later in zip(before, after, strict=True))


async def test_a_storm_of_repeated_calls_is_held_down(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        await world.plane()
        backends = await world.backends("a", "b")
        driver = await world.driver()
        await driver.start(150, "fail:*:1")
        await asyncio.sleep(2.5)
        calls = await driver.stop()
        made = await attempts(backends)

    # A tenth, what the budget holds at first, and what was on its way as it ran out.
    assert len(calls) < made < 1.1 * len(calls) + 90


async def test_the_time_that_is_left_shrinks_from_hop_to_hop(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        await world.plane()
        await world.backends("a", "b")
        driver = await world.driver()
        answer = (await driver.do("ask", what="hops:5"))["answer"]

    left = [float(each) for each in answer.split()]
    assert len(left) == 6
    assert left[0] <= 1.0
    assert all(later < earlier - 0.015 for earlier, later in pairwise(left))
