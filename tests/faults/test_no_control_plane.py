"""A process that starts while no control plane answers."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from mesh.xds.fallback import FILE

from .world import ends, until, world_in

pytestmark = pytest.mark.timeout(90)


async def test_a_process_starts_without_a_control_plane_and_calls_as_the_last_one_did(
    tmp_path: Path,
) -> None:
    async with world_in(tmp_path) as world:
        plane = await world.plane()
        await world.backends("a")
        first = await world.driver(name="edge")
        assert (await first.do("ask"))["answer"] == "a"
        kept = tmp_path / "edge" / "identity" / FILE

        async def is_kept() -> bool:
            return kept.exists() and "ClusterLoadAssignment" in kept.read_text()

        await until(is_kept, 20)
        await ends(plane, signal.SIGKILL)

        # Its certificate is still good, and what it was told is in a file.
        second = await world.driver(name="edge")
        assert (await second.do("ask"))["answer"] == "a"
        # A running one is not disturbed.
        assert (await first.do("ask"))["answer"] == "a"

        await world.plane()
        await world.backends("b")

        async def follows_again() -> bool:
            return (await second.do("ask")).get("answer") == "b"

        await until(follows_again, 30)
