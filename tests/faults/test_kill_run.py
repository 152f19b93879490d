"""Kills at load: nothing is lost, nothing doubled, order is kept. Each seeded fault is caught."""

from __future__ import annotations

from pathlib import Path

import pytest

from .colony import a_colony
from .mutants import MUTANTS

KILLS, KILLS_OF_NATS = 130, 20
ROUND, ROUNDS = 20, 4


@pytest.mark.faults
@pytest.mark.timeout(600)
async def test_nothing_is_lost_or_doubled_over_a_hundred_kills_of_services_and_twenty_of_nats(
    tmp_path: Path,
) -> None:
    async with a_colony(tmp_path) as colony:
        await colony.storm(KILLS)
        seconds = await colony.settle()
        violations = await colony.violations()
        tally = colony.tally
        print(
            f"\n{tally.services} kills of services, {tally.struck} more at a commit or a publish,"
            f" {tally.nats} of nats-server: {colony.events} events, {len(violations)} violations,"
            f" quiet after {seconds:.1f} s"
        )
        assert violations == []
        assert tally.services >= 100
        assert tally.nats >= KILLS_OF_NATS


@pytest.mark.faults
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", MUTANTS)
async def test_a_seeded_fault_is_caught(mutant: str, tmp_path: Path) -> None:
    async with a_colony(tmp_path, mutant=mutant) as colony:
        violations: list[str] = []
        for _ in range(ROUNDS):
            await colony.storm(ROUND)
            await colony.settle()
            if violations := await colony.violations():
                break
        print(f"\n{mutant}: {colony.tally.services} kills, {violations[:2]}")
        assert violations


@pytest.mark.timeout(120)
async def test_a_short_storm_of_kills_loses_and_doubles_nothing(tmp_path: Path) -> None:
    async with a_colony(tmp_path) as colony:
        await colony.storm(10)
        await colony.settle()
        assert await colony.violations() == []
