from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from mesh.supervisor.problem import Problem
from mesh.supervisor.process import Instance, State

from .fakes import BROKEN, PARENT, STUBBORN, instance

ROOT = Path(__file__).parents[3]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while True:
            if holds():
                return
            await asyncio.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Instance]:
    started = instance(tmp_path)
    await started.start()
    await started.until_ready()
    yield started
    await started.stop()


async def test_a_process_that_is_killed_is_started_again(running: Instance) -> None:
    killed = running.pid
    assert killed is not None

    os.kill(killed, signal.SIGKILL)
    await until(lambda: running.pid not in (None, killed) and running.state is State.READY)

    assert running.restarts == 1
    assert "ended by itself (SIGKILL)" in running.log.read_text()


async def test_what_a_killed_process_had_started_is_ended_with_it(tmp_path: Path) -> None:
    parent = instance(tmp_path, PARENT)
    await parent.start()
    try:
        await parent.until_ready()
        grandchild = int(parent.log.read_text().split()[1])
        assert parent.pid is not None

        os.kill(parent.pid, signal.SIGKILL)

        await until(lambda: not is_alive(grandchild))
    finally:
        await parent.stop()


async def test_a_restart_is_gentle_and_waits_for_the_new_process(running: Instance) -> None:
    before = running.pid

    await running.restart()

    assert running.pid not in (None, before)
    assert running.state is State.READY
    assert "bye" in running.log.read_text()
    assert "ended by itself" not in running.log.read_text()


async def test_a_stopped_process_is_asked_first_and_stays_stopped(tmp_path: Path) -> None:
    stopped = instance(tmp_path)
    await stopped.start()
    await stopped.until_ready()

    await stopped.stop()

    assert stopped.pid is None
    assert stopped.state is State.STOPPED
    assert stopped.log.read_text().endswith("bye\n")


async def test_a_process_that_ignores_the_request_is_ended_after_its_grace(tmp_path: Path) -> None:
    stubborn = instance(tmp_path, STUBBORN, grace_s=0.2)
    await stubborn.start()
    await stubborn.until_ready()

    await stubborn.stop()

    assert stubborn.pid is None


async def test_a_process_that_cannot_start_is_a_problem_that_says_why(tmp_path: Path) -> None:
    broken = instance(tmp_path, BROKEN)
    await broken.start()
    try:
        with pytest.raises(Problem) as raised:
            await broken.until_ready()
    finally:
        await broken.stop()

    assert "fake-1 ends as soon as it is started" in raised.value.what
    assert "no such setting: COLOUR" in raised.value.why


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's promise is Linux's")
async def test_children_die_with_the_supervisor(tmp_path: Path) -> None:
    supervisor = f"""
import asyncio
from pathlib import Path
from mesh.supervisor.tests.fakes import instance
async def main():
    kept = instance(Path({str(tmp_path)!r}))
    await kept.start()
    await kept.until_ready()
    print(kept.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", supervisor, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    child = int(await process.stdout.readline())
    assert is_alive(child)

    process.kill()
    await process.wait()

    await until(lambda: not is_alive(child))
