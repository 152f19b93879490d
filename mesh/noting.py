"""Takes note of what units of work tell, for the answer to the call that they are part of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from mesh.db import Database, UnitOfWork
from mesh.rpc.consistency import Told
from mesh.rpc.context import current

__all__ = ["note", "noting"]

P = ParamSpec("P")
T = TypeVar("T")


async def noting(
    database: Database,
    unit: Callable[Concatenate[UnitOfWork, P], Awaitable[T]],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Runs a unit of work, and notes its events in the call that is current (`Outgoing.told`).

    Raises as `Database.transact` does.
    """
    out = current.get()
    if out is None:
        return await database.transact(unit, *args, **kwargs)
    told: list[tuple[Any, ...]] = []

    async def noted(work: UnitOfWork) -> T:
        answer = await unit(work, *args, **kwargs)
        # Of a unit that is run again, the last run is the one that is kept.
        told[:] = work.events
        return answer

    answer = await database.transact(noted)
    note(told)
    return answer


def note(events: Sequence[tuple[Any, ...]]) -> None:
    """Notes events that were kept, as rows of the outbox, in the call that is current."""
    if out := current.get():
        for event_id, _, kind, key, *_ in events:
            out.told.add(Told(kind, key, event_id))
