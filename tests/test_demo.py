"""The first thing that a stranger types, as they type it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[1]
STEPS = 13


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    # Its data directory is made where TMPDIR says.
    path = os.pathsep.join([str(ROOT), str(ROOT / "protos/gen")])
    return {**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path), "NO_COLOR": "1"}


async def demo(environment: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services", "demo"),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def left_by(folder: Path) -> list[str]:
    """The processes that still run with data in a folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        command = " ".join(process.info["cmdline"] or ())
        if str(folder) in command and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(command)
    return found


async def test_the_demo_proves_every_step_and_leaves_nothing_behind(
    environment: dict[str, str], tmp_path: Path
) -> None:
    process = await demo(environment)
    out, err = await process.communicate()

    assert process.returncode == 0, (out + err).decode()
    assert out.decode().count("✓") == STEPS
    assert "0 orphans" in out.decode()
    assert os.listdir(tmp_path) == []
    assert left_by(tmp_path) == []


@pytest.mark.faults
async def test_an_interrupted_demo_takes_everything_down(
    environment: dict[str, str], tmp_path: Path
) -> None:
    process = await demo(environment)
    assert process.stdout is not None
    await process.stdout.readline()

    process.send_signal(signal.SIGINT)
    await process.communicate()

    assert process.returncode == 130
    assert left_by(tmp_path) == []
