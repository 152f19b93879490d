"""A canary that is judged by what real processes tell of themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from meshapi.v1 import policy_pb2 as pb

from .world import World, ready, until, world_in

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]


def canary(**told: object) -> pb.ServicePolicy:
    policy = pb.ServicePolicy(service="accounts")
    policy.canary.CopyFrom(pb.Canary(to="v2", max_error_percent=50, **told))  # type: ignore[arg-type]
    setattr(policy.canary, "from", "v1")
    policy.canary.steps.add(weight=50).hold.FromSeconds(1)
    return policy


def ends(world: World, state: pb.CanaryState.ValueType, why: str) -> Callable[[], Awaitable[bool]]:
    async def has_ended() -> bool:
        (told,) = (await world.policy()).services
        return told.canary.state == state and why in told.canary.outcome

    return has_ended


async def test_a_slow_version_and_a_broken_invariant_are_taken_back_by_themselves(
    tmp_path: Path,
) -> None:
    async with world_in(tmp_path) as world:
        await world.plane()
        backends = [
            await world.backend("a", MESH_VERSION="v1"),
            await world.backend("b", MESH_VERSION="v2"),
        ]
        for backend in backends:
            await ready(backend)
        driver = await world.driver()
        back, promoted = pb.CANARY_STATE_ROLLED_BACK, pb.CANARY_STATE_PROMOTED

        await driver.start(60, "slow:b:0.8")
        await world.apply(canary(max_latency_factor=1.2))
        await until(ends(world, back, "p99 of v2 is "), 60)
        await driver.stop()

        await driver.start(60)
        broken = pb.MetricBound(metric="process_open_fds", least=0, greatest=1)
        await world.apply(canary(invariants=[broken]))
        await until(ends(world, back, "process_open_fds of accounts is "), 60)
        kept = pb.MetricBound(metric="process_open_fds", least=1, greatest=10_000)
        await world.apply(canary(invariants=[kept]))
        await until(ends(world, promoted, "every step held"), 60)
        await driver.stop()
