"""Lets a process of the bank kill itself at a moment of a saga that a payment names.

A payment whose description or request id says `[move_money after hold]` kills the process that
carries it right after the hold was answered, and before anything knows of it; once for the same
words. A saga may be struck

    as it is accepted       in the transaction that accepts it, before its commit
    once it is accepted     after that commit, before whoever asked is answered
    before STEP             after the step before was kept, before the step is taken
    after STEP              after the step was taken, before its answer is kept
    in the last transaction before its commit
    after the end           after that commit, before its events are sent

A folder on PYTHONPATH with a `sitecustomize` that calls `arm` brings it into every process; the
processes' code knows nothing of it.
"""

from __future__ import annotations

import os
import signal
import sys
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.parse import quote

DEATHS = "TEST_DEATHS"
carried: ContextVar[Any] = ContextVar("carried")
"""What the saga of this task is about."""

CARRIERS = ("services.transfers", "services.pix")


def environment(folder: Path) -> dict[str, str]:
    """Makes what a bank is told so that payments can kill its processes."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("from tests.faults import dying\ndying.arm()\n")
    inherited = os.environ.get("PYTHONPATH", "")
    root = Path(__file__).parents[2]
    paths = [str(folder), str(root), str(root / "protos/gen"), inherited]
    return {DEATHS: str(folder), "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def deaths(folder: Path) -> set[str]:
    """Names what processes have died of."""
    return {file.name for file in folder.iterdir() if file.is_file() and file.suffix != ".py"}


def name_of(label: str) -> str:
    return quote(label, safe=" []")


def arm() -> None:
    """Prepares this process, if it is one that carries sagas, or the one that restarts them."""
    words = sys.orig_argv
    if any(word in CARRIERS for word in words):
        arm_sagas()
    elif "services" in words and "up" in words:
        from mesh.supervisor import process

        # They die more often than a supervisor should bear.
        process.BACKOFF_S = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def strike(saga: str, moment: str, entity: Any) -> None:
    """Kills the process if the entity asks for it here, and it was not killed for it before."""
    for said in (getattr(entity, "request_id", ""), getattr(entity, "description", "")):
        if said and f"[{saga} {moment}]" in said:
            try:
                (Path(os.environ[DEATHS]) / name_of(said)).touch(exist_ok=False)
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)


def arm_sagas() -> None:
    """Wraps what every saga passes through."""
    from mesh.db import UnitOfWork
    from mesh.saga import runner
    from mesh.saga.journal import RunJournal

    start, begin_new = UnitOfWork.start, runner.SagaRunner._begin_new
    attempt, end, run_once = RunJournal._attempt, runner._end, runner.SagaRunner._run_once

    def dying_start(
        work: UnitOfWork, saga: str, entity_id: str, /, *, at_us: int = 0, entity: Any = None
    ) -> None:
        start(work, saga, entity_id, at_us=at_us, entity=entity)
        strike(saga, "as it is accepted", entity)

    def dying_begin_new(self: runner.SagaRunner, new: Any) -> None:
        strike(new.saga, "once it is accepted", new.entity)
        begin_new(self, new)

    async def dying_attempt(self: RunJournal, name: str, action: Any, argument: Any) -> Any:
        strike(self._saga, f"before {name}", carried.get())
        answer = await attempt(self, name, action, argument)
        strike(self._saga, f"after {name}", carried.get())
        return answer

    async def dying_end(work: UnitOfWork, saga: Any, journal: RunJournal, entity: Any) -> Any:
        ended = await end(work, saga, journal, entity)
        strike(saga.name, "in the last transaction", entity)
        return ended

    async def dying_run_once(self: Any, saga: Any, entity_id: str, record: Any) -> Any:
        carried.set(record.entity)
        ended = await run_once(self, saga, entity_id, record)
        if ended is not None:
            strike(saga.name, "after the end", ended[0])
        return ended

    setattr(UnitOfWork, "start", dying_start)  # noqa: B010
    setattr(runner.SagaRunner, "_begin_new", dying_begin_new)  # noqa: B010
    setattr(RunJournal, "_attempt", dying_attempt)  # noqa: B010
    setattr(runner, "_end", dying_end)  # noqa: B010
    setattr(runner.SagaRunner, "_run_once", dying_run_once)  # noqa: B010
