"""A process that carries a journey, and kills itself where CRASH_AT says.

Each step that is taken is a line of the file CALLS. Run as a module with the database's URL.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from mesh.db import UnitOfWork, open_database
from mesh.errors import FailedPrecondition
from mesh.events.envelope import seal
from mesh.saga.runner import SagaRunner

from . import journey
from .journey import Journey

CRASH_AT = os.environ.get("CRASH_AT", "")
REFUSES = os.environ.get("REFUSES", "")
CALLS = Path(os.environ["CALLS"])


def crash(point: str) -> None:
    if point == CRASH_AT:
        os.kill(os.getpid(), signal.SIGKILL)


def keep_call(step: str) -> None:
    with CALLS.open("a") as calls:
        calls.write(f"{step}\n")


async def do(step: str, journey_id: str) -> None:
    crash(f"before {step}")
    keep_call(step)
    crash(f"after {step}")
    if step == REFUSES:
        raise FailedPrecondition("FULL", "No room is left.")


async def finish(work: UnitOfWork, ended: Journey) -> Journey:
    kept = await journey.finish(work, ended)
    crash("in the last transaction")
    return kept


async def carry(url: str) -> None:
    database = await open_database(url, seal=partial(seal, source="journeys"))
    await database.transact(journey.make_tables)
    runner = SagaRunner(database, [replace(journey.journeys(do), finish=finish)])
    await runner.start()
    if await database.read(journey.find, "j") is None:
        await database.transact(journey.begin, "j")
    crash("after the start")
    has_ended = await runner.wait("travel", "j", 30.0)
    await runner.stop()
    await database.close()
    sys.exit(0 if has_ended else 1)


if __name__ == "__main__":
    asyncio.run(carry(sys.argv[1]))
