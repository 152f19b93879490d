"""How far a service is with events: what it has yet to hear, and what it has yet to tell."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mesh.clock import now_us
from mesh.db import Database, UnitOfWork, sql
from mesh.errors import Transient
from mesh.ids import new_id

from .deadletters import count_parked
from .jetstream import ApiError, Connection
from .projection import ProjectionLoop
from .reaction import ReactionLoop

__all__ = ["OutboxSize", "Standing", "count_after", "measure_outbox", "standing_of"]

_PATIENCE_S: Final = 2.0

_CURSOR = sql("SELECT sequence FROM cursors WHERE projection = :projection AND stream = :stream")
_UNSENT = sql(
    "SELECT COUNT(*) AS count, MIN(created_at_us) AS oldest_us FROM outbox WHERE sent_at_us IS NULL"
)
_KEPT = sql("SELECT COUNT(*) AS count FROM outbox WHERE sent_at_us IS NOT NULL")
_SCHEDULED = sql("SELECT COUNT(*) AS count FROM scheduled_events")


@dataclass(frozen=True, slots=True)
class OutboxSize:
    """How many events wait to be told, the age of the oldest, how many are for later or kept."""

    unsent: int
    oldest_age_ms: int
    scheduled: int
    kept: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a subscription is. `lag` is None when the stream cannot be asked."""

    lag: int | None
    redelivered: int
    dead_letters: int


async def measure_outbox(work: UnitOfWork) -> OutboxSize:
    """Counts what a service has to tell."""
    unsent, kept, scheduled = [
        await work.fetch_one(statement) for statement in (_UNSENT, _KEPT, _SCHEDULED)
    ]
    assert unsent is not None
    assert kept is not None
    assert scheduled is not None
    oldest_us = unsent["oldest_us"]
    age_ms = 0 if oldest_us is None else max(0, (now_us() - oldest_us) // 1_000)
    return OutboxSize(unsent["count"], age_ms, scheduled["count"], kept["count"])


async def standing_of(
    loop: ProjectionLoop | ReactionLoop, database: Database, connection: Connection | None
) -> Standing:
    """Finds out how far a subscription is. Raises `Transient` if the database does not answer."""
    lag, redelivered, parked = None, 0, 0
    if isinstance(loop, ReactionLoop):
        parked = await database.read(count_parked, loop.consumer, loop.stream)
    if connection is not None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                if isinstance(loop, ReactionLoop):
                    lag, redelivered = await _of_reaction(connection, loop)
                else:
                    cursor = await database.read(_fetch_cursor, loop.name, loop.stream)
                    subjects = [route.kind.subjects for route in loop.routes.values()]
                    lag = await count_after(connection, loop.stream, cursor, subjects)
        except (TimeoutError, ApiError, Transient):
            pass
    return Standing(lag, redelivered, parked)


async def _of_reaction(connection: Connection, loop: ReactionLoop) -> tuple[int, int]:
    info = await connection.api(f"CONSUMER.INFO.{loop.stream}.{loop.consumer}")
    return info["num_pending"] + info["num_ack_pending"], info["num_redelivered"]


async def count_after(
    connection: Connection, stream: str, cursor: int, subjects: Sequence[str]
) -> int:
    """Asks the server how many events come after a cursor: a consumer begins with that count."""
    name = new_id()
    config = {
        "name": name,
        "ack_policy": "none",
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": cursor + 1,
        "filter_subjects": subjects,
        "inactive_threshold": 1_000_000_000,
        "mem_storage": True,
        "num_replicas": 1,
    }
    body = {"stream_name": stream, "config": config, "action": "create"}
    made = await connection.api(f"CONSUMER.CREATE.{stream}.{name}", body)
    await connection.api(f"CONSUMER.DELETE.{stream}.{name}")
    count: int = made["num_pending"]
    return count


async def _fetch_cursor(work: UnitOfWork, projection: str, stream: str) -> int:
    row = await work.fetch_one(_CURSOR, projection=projection, stream=stream)
    return 0 if row is None else row["sequence"]
