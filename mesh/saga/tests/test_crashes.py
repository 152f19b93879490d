from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from mesh.db import open_database
from mesh.db.migrate import migrate
from mesh.events.envelope import seal

from .journey import find

POINTS = [
    "after the start",
    "before book",
    "after book",
    "before pay",
    "after pay",
    "before cancel",
    "after cancel",
    "in the last transaction",
]


async def victim(url: str, environment: Mapping[str, str]) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "mesh.saga.tests.victim",
        url,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )
    async with asyncio.timeout(60):
        return await process.wait()


def folder(parent: Path, number: int) -> Path:
    (parent / str(number)).mkdir()
    return parent / str(number)


async def die_and_live(directory: Path, point: str, refuses: str) -> tuple[list[str], str, int]:
    """Runs a victim that dies at `point` and another to the end; gives the steps and the end."""
    url = f"sqlite:///{directory}/journeys.db"
    await asyncio.to_thread(migrate, url)
    environment = {"CALLS": str(directory / "calls"), "REFUSES": refuses}
    died = await victim(url, {**environment, "CRASH_AT": point})
    assert died == -signal.SIGKILL, f"it did not die {point}"
    assert await victim(url, environment) == 0
    database = await open_database(url, seal=partial(seal, source="journeys"))
    row = await database.read(find, "j")
    await database.close()
    assert row is not None
    return (directory / "calls").read_text().split(), row["state"], row["ends"]


@pytest.mark.timeout(120)
async def test_a_saga_survives_its_process_at_every_point_and_repeats_no_finished_step(
    tmp_path: Path,
) -> None:
    points = [point for point in POINTS if "cancel" not in point]
    runs = [die_and_live(folder(tmp_path, n), point, "") for n, point in enumerate(points)]
    ends = dict(zip(points, await asyncio.gather(*runs), strict=True))
    for point, (calls, state, times) in ends.items():
        assert (state, times) == ("paid", 1), point
        expected = ["book", "pay"]
        if point == "after book":
            expected = ["book", "book", "pay"]
        if point in ("after pay", "in the last transaction"):
            expected = ["book", "pay", "pay"]
        assert calls == expected, point


@pytest.mark.timeout(120)
async def test_a_refused_step_is_refused_again_after_a_crash_without_being_taken(
    tmp_path: Path,
) -> None:
    points = ["before cancel", "after cancel", "in the last transaction"]
    runs = [die_and_live(folder(tmp_path, n), point, "pay") for n, point in enumerate(points)]
    for point, (calls, state, times) in zip(points, await asyncio.gather(*runs), strict=True):
        assert (state, times) == ("cancelled", 1), point
        cancels = ["cancel"] if point == "before cancel" else ["cancel", "cancel"]
        assert calls == ["book", "pay", *cancels], point
