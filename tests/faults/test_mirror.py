"""Copies of calls to another version, made by the chassis of a real caller."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshapi.v1 import policy_pb2 as pb

from .world import attempts, ready, tally, until, world_in

pytestmark = pytest.mark.timeout(90)


@pytest.mark.faults
async def test_a_version_gets_copies_of_the_calls_and_no_caller_notices(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        await world.plane()
        old = await world.backend("a", MESH_VERSION="v1")
        new = await world.backend("b", MESH_VERSION="v2")
        for backend in (old, new):
            await ready(backend)
        driver = await world.driver()
        split = [pb.VersionWeight(version="v1", weight=1)]
        mirror = pb.Mirror(to="v2", percent=100)
        await world.apply(pb.ServicePolicy(service="accounts", split=split, mirror=mirror))
        # The new version fails each of the copies.
        await driver.start(40, "fail:b:1")

        async def is_copied_to() -> bool:
            return await attempts([new]) >= 30

        await until(is_copied_to, 40)
        await world.apply(pb.ServicePolicy(service="accounts", split=split))

        async def is_left_alone() -> bool:
            before = await attempts([new])
            await driver.do("ask")
            return before == await attempts([new])

        await until(is_left_alone, 40)
        calls = await driver.stop()
        told = (await driver.do("metrics"))["text"]

    assert tally(calls) == {"OK": len(calls)}
    assert 'mesh_mirrored_calls_total{rpc_method="bank.accounts.v1.AccountsService/' in told
