"""Dead letters: events that a reaction could not apply, kept in its database for a person.

Once an event of a key is parked, the later ones of the key are parked behind it, so that order
holds when they are applied after all.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Final

from mesh.clock import now_us
from mesh.db import Database, Row, UnitOfWork, sql
from observability import tracing

from .envelope import open
from .routes import Incoming, Route, describe_error

__all__ = ["BEHIND", "count_parked", "park", "parked_keys", "redrive"]

BEHIND: Final = "behind an earlier event of its key"

_PARK = sql(
    "INSERT INTO dead_letters (consumer, event_id, stream, sequence, type, key, payload, headers,"
    " error, attempts, parked_at_us)"
    " VALUES (:consumer, :event_id, :stream, :sequence, :type, :key, :payload, :headers,"
    " :error, :attempts, :now_us)"
    " ON CONFLICT (consumer, event_id) DO NOTHING"
)
_PARKED_KEYS = sql("SELECT DISTINCT key FROM dead_letters WHERE consumer = :consumer")
_PARKED = sql(
    "SELECT event_id, stream, sequence, type, key, payload, headers FROM dead_letters"
    " WHERE consumer = :consumer AND stream = :stream ORDER BY sequence"
)
_COUNT = sql("SELECT COUNT(*) AS count FROM dead_letters WHERE consumer = :consumer")
_RELEASE = sql("DELETE FROM dead_letters WHERE consumer = :consumer AND event_id = :event_id")

logger = logging.getLogger(__name__)


async def park(
    work: UnitOfWork, incoming: Incoming, consumer: str, error: str, attempts: int
) -> None:
    """Keeps an event for later."""
    headers = dict(incoming.message.headers or {})
    await work.execute(
        _PARK,
        consumer=consumer,
        event_id=incoming.id,
        stream=incoming.stream,
        sequence=incoming.place.sequence,
        type=headers.get("ce-type", ""),
        key=incoming.key,
        payload=incoming.message.data,
        headers=json.dumps(headers),
        error=error,
        attempts=attempts,
        now_us=now_us(),
    )


async def parked_keys(work: UnitOfWork, consumer: str) -> frozenset[str]:
    """Gives the keys whose events have to be parked."""
    return frozenset(row["key"] for row in await work.fetch_all(_PARKED_KEYS, consumer=consumer))


async def count_parked(work: UnitOfWork, consumer: str) -> int:
    """Counts the events that a reaction has parked."""
    row = await work.fetch_one(_COUNT, consumer=consumer)
    assert row is not None
    count: int = row["count"]
    return count


async def redrive(
    database: Database,
    consumer: str,
    stream: str,
    routes: Mapping[str, Route],
    key: str | None = None,
) -> int:
    """Applies parked events of a stream, of one key or of all, in order; counts those applied.

    At an event that fails again, the rest of its key stays parked.
    """
    rows = await database.read(_fetch_parked, consumer, stream)
    applied = 0
    failed: set[str] = set()
    for row in rows:
        if row["key"] in failed or key not in (None, row["key"]):
            continue
        try:
            applied += await database.transact(_apply, consumer, routes, row)
        except Exception as error:
            failed.add(row["key"])
            logger.error(
                "%s could not apply %s: %s", consumer, row["event_id"], describe_error(error)
            )
    return applied


async def _fetch_parked(work: UnitOfWork, consumer: str, stream: str) -> list[Row]:
    return await work.fetch_all(_PARKED, consumer=consumer, stream=stream)


async def _apply(work: UnitOfWork, consumer: str, routes: Mapping[str, Route], row: Row) -> int:
    released = await work.execute(_RELEASE, consumer=consumer, event_id=row["event_id"])
    if not released:
        return 0
    route = routes.get(row["type"])
    if route is None:
        raise LookupError(row["type"])
    headers: dict[str, str] = json.loads(row["headers"])
    event = open(
        route.message,
        headers,
        row["payload"],
        subject=f"{row['type']}.{headers.get('ce-subject', '')}",
        stream=row["stream"],
        sequence=row["sequence"],
    )
    sender = tracing.parse(event.traceparent)
    links = () if sender is None else (sender,)
    with tracing.span(f"process {route.kind.template}", parent=None, links=links):
        await route.handle(work, event)
    return 1
