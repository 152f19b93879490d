"""What must not cost one call: restarts, new certificates and roots, a control plane that dies."""

from __future__ import annotations

import asyncio
import functools
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from mesh.identity.issued import good_entries
from mesh.identity.rotation import behind, prepare_root, retire_roots, switch_root
from mesh.tests.processes import Started

from .world import Driver, World, ends, ready, tally, until, world_in

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

CALLS = 20_000
RATE = 220

# Each process renews its certificate when half of it is over: every ten seconds.
TTL_S = 20


async def restart(world: World, backends: list[Started]) -> None:
    """Restarts every instance, each when the last one is ready again."""
    for number, name in enumerate("ab"):
        assert await ends(backends[number], signal.SIGTERM) == 0
        backends[number] = await world.backend(name)
        await ready(backends[number])


async def heard_by_all(world: World) -> None:
    """Waits until no good certificate would be cut off by the next step."""

    async def nobody_is_behind() -> bool:
        return not await asyncio.to_thread(behind, world.data_dir)

    await until(nobody_is_behind, 3 * TTL_S)


async def called(driver: Driver, calls: int) -> None:
    async def are_made() -> bool:
        return bool((await driver.do("counted"))["calls"] >= calls)

    await until(are_made, 200)


async def is_called(driver: Driver, instance: str) -> bool:
    return bool((await driver.do("ask"))["answer"] == instance)


async def test_no_call_of_twenty_thousand_fails_through_all_that_an_operator_does(
    tmp_path: Path,
) -> None:
    async with world_in(tmp_path, MESH_XDS_CERTIFICATE_TTL_S=str(TTL_S)) as world:
        plane = await world.plane()
        backends = await world.backends("a", "b")
        driver = await world.driver()
        await driver.do("ask")
        await driver.start(RATE)

        await restart(world, backends)
        await ends(plane, signal.SIGKILL)
        await asyncio.sleep(3)
        plane = await world.plane()
        for step in (prepare_root, switch_root, retire_roots):
            await asyncio.to_thread(step, world.data_dir)
            await heard_by_all(world)
        await restart(world, backends)
        issued = {entry.serial for entry in good_entries(world.data_dir / "authority")}
        await called(driver, CALLS)
        calls = await driver.stop()

    print(
        f"{len(calls)} calls in {calls[-1].at:.0f} s", tally(calls), f"{len(issued)} certificates"
    )
    assert len(calls) >= CALLS
    assert tally(calls) == {"OK": len(calls)}


@pytest.mark.parametrize("replicas", [World.name_two_addresses, World.share_a_port])
async def test_changes_follow_and_no_call_fails_when_one_control_plane_of_two_dies(
    tmp_path: Path, replicas: Callable[[World], None]
) -> None:
    async with world_in(tmp_path) as world:
        replicas(world)
        planes = [await world.plane(0), await world.plane(1)]
        await world.backends("a")
        driver = await world.driver()
        await driver.do("ask")
        await driver.start(100)

        for number in (0, 1):
            await ends(planes[number], signal.SIGKILL)
            name = "bc"[number]
            await world.backends(name)
            await until(functools.partial(is_called, driver, name), 30)
            planes[number] = await world.plane(number)
            await asyncio.sleep(3)
        calls = await driver.stop()

    print(len(calls), tally(calls))
    assert tally(calls) == {"OK": len(calls)}
