"""Instances that freeze, fail or refuse, and the callers that must not notice for long."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import psutil
import pytest

from .world import Call, Driver, attempts, between, p99, quantile, tally, until, world_in

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]


async def test_a_frozen_instance_of_three_is_forgotten_within_ten_seconds(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        await world.plane()
        backends = await world.backends("a", "b", "c")
        driver = await world.driver()
        await driver.start(100, "sleep:0.02")
        await asyncio.sleep(10)
        backends[1].process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(20)
        backends[1].process.send_signal(signal.SIGCONT)
        calls = await driver.stop()

    normal = p99(between(calls, 2, 10))
    after = p99(between(calls, 20))
    print(f"p99 normal {normal * 1e3:.1f} ms, after ten seconds {after * 1e3:.1f} ms", tally(calls))
    assert after < 2 * normal
    assert tally(between(calls, 20)) == {"OK": len(between(calls, 20))}


async def test_an_instance_that_fails_half_of_its_calls_is_spared_until_it_is_healed(
    tmp_path: Path,
) -> None:
    async with world_in(tmp_path) as world:
        await world.plane()
        backends = await world.backends("a", "b", "c")
        driver = await world.driver()
        await driver.start(150, "fail:b:0.5")
        await asyncio.sleep(5)
        spared_from = await attempts(backends[1:2])
        await asyncio.sleep(14)
        tried = await attempts(backends[1:2]) - spared_from
        calls = await driver.stop()
        errors = 1 - tally(between(calls, 5))["OK"] / len(between(calls, 5))
        print(f"errors after 5 s {errors:.3%}, attempts on it {tried}", tally(calls))
        assert errors < 0.01
        # A third of them, were it not spared.
        assert tried < 150 * 14 / 3 / 4

        await driver.start(150)
        healed_from = await attempts(backends[1:2])

        async def returned() -> bool:
            return await attempts(backends[1:2]) - healed_from >= 100

        await until(returned, 30)
        assert set(tally(await driver.stop())) == {"OK"}


async def test_a_service_that_answers_nothing_is_not_stormed_and_recovers(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        await world.plane()
        backends = await world.backends("a", "b")
        driver = await world.driver()
        await driver.start(200)
        await asyncio.sleep(2)
        await driver.stop()
        before = await attempts(backends)

        await driver.start(200, "fail:*:1")
        await asyncio.sleep(10)
        calls = await driver.stop()
        made = await attempts(backends) - before
        await driver.start(200)
        await asyncio.sleep(6)
        after = await driver.stop()

    print(f"{len(calls)} calls, {made} attempts: {made / len(calls):.3f}", tally(after))
    assert tally(calls)["OK"] == 0
    assert made <= 1.2 * len(calls)
    assert tally(between(after, 5)) == {"OK": len(between(after, 5))}


async def test_three_times_the_capacity_costs_a_fifth_of_it_at_the_most(tmp_path: Path) -> None:
    """Capacity and goodput are compared per second of the server's processor: others use it too."""
    async with world_in(tmp_path) as world:
        await world.plane()
        (backend,) = await world.backends("a")
        driver = await world.driver()
        server = psutil.Process(backend.process.child.pid)  # type: ignore[attr-defined]
        capacity, frugal = 0.0, 0.0
        for rate in (110, 140, 170):
            calls, used_s = await measured(driver, server, rate, 5)
            good = tally(calls)["OK"]
            if good / 5 > capacity:
                capacity, frugal = good / 5, good / used_s
        calls, used_s = await measured(driver, server, 3 * capacity, 12)

    good_calls = [call for call in calls if call.end == "OK"]
    refused = [call for call in calls if call.end.startswith("Overloaded OVERLOADED")]
    share = len(good_calls) / used_s / frugal
    print(
        f"capacity {capacity:.0f}/s, goodput {len(good_calls) / 12:.0f}/s, per second of processor "
        f"{share:.0%}; {len(refused)} refused in p50 {quantile(refused, 50) * 1e3:.1f}, p95 "
        f"{quantile(refused, 95) * 1e3:.1f}, p99 {p99(refused) * 1e3:.1f} ms; good p99 "
        f"{p99(good_calls) * 1e3:.0f} ms",
        {end[:40]: number for end, number in tally(calls).most_common(4)},
    )
    assert share >= 0.8
    assert quantile(refused, 95) < 0.05


async def measured(
    driver: Driver, server: psutil.Process, rate: float, seconds: int
) -> tuple[list[Call], float]:
    """Calls at a rate, and gives the calls of so many seconds and what the server used in them."""
    await driver.start(rate, "burn:5")
    await asyncio.sleep(2)
    before = server.cpu_times()
    await asyncio.sleep(seconds)
    after = server.cpu_times()
    calls = between(await driver.stop(), 2, 2 + seconds)
    return calls, after.user + after.system - before.user - before.system
