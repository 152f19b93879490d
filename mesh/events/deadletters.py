"""Dead letters: events that a reaction could not apply, kept in its database for a person.

Once an event of a key is parked, the later ones of the key are parked behind it, so that order
holds when they are applied after all. What a person does with a letter is kept in a history, with
the letter as it was before.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

from mesh.clock import now_us
from mesh.db import Database, Row, UnitOfWork, sql
from mesh.errors import FailedPrecondition, NotFound
from observability import tracing

from . import Failure
from .envelope import Undecodable, open
from .routes import Incoming, Route, describe_error

__all__ = [
    "BEHIND",
    "EXPIRED",
    "Hand",
    "Redriven",
    "count_parked",
    "drop",
    "edit",
    "expire",
    "failure_of",
    "fetch_history",
    "fetch_parked",
    "park",
    "parked_keys",
    "redrive",
]

BEHIND: Final = "behind an earlier event of its key"
EXPIRED: Final = "older than its reaction allows"

_COLUMNS: Final = (
    "consumer, event_id, stream, sequence, type, key, payload, headers, error, attempts,"
    " parked_at_us"
)
_PARK = sql(
    f"INSERT INTO dead_letters ({_COLUMNS})"  # noqa: S608
    " VALUES (:consumer, :event_id, :stream, :sequence, :type, :key, :payload, :headers,"
    " :error, :attempts, :now_us)"
    " ON CONFLICT (consumer, event_id) DO NOTHING"
)
_PARKED_KEYS = sql("SELECT DISTINCT key FROM dead_letters WHERE consumer = :consumer")
_FIND = sql(
    f"SELECT {_COLUMNS} FROM dead_letters"  # noqa: S608
    " WHERE (:consumer = '' OR consumer = :consumer)"
    " AND (:event_id = '' OR event_id = :event_id) AND (:key = '' OR key = :key)"
    " ORDER BY consumer, stream, sequence LIMIT :most"
)
_NEXT = sql(
    "SELECT event_id, key, sequence FROM dead_letters WHERE consumer = :consumer"
    " AND stream = :stream AND sequence > :after AND (:key = '' OR key = :key)"
    " ORDER BY sequence LIMIT :most"
)
_LETTER = sql(
    "SELECT event_id, stream, sequence, type, key, payload, headers FROM dead_letters"
    " WHERE consumer = :consumer AND event_id = :event_id"
)
_COUNT = sql(
    "SELECT COUNT(*) AS count FROM dead_letters"
    " WHERE consumer = :consumer AND (:stream = '' OR stream = :stream)"
)
_RELEASE = sql("DELETE FROM dead_letters WHERE consumer = :consumer AND event_id = :event_id")
_EDIT = sql(
    "UPDATE dead_letters SET payload = :payload WHERE consumer = :consumer AND event_id = :event_id"
)
_KEEP = sql(
    f"INSERT INTO dead_letter_history (action, actor, note, acted_at_us, {_COLUMNS})"  # noqa: S608
    f" SELECT CAST(:action AS text), CAST(:actor AS text), CAST(:note AS text),"
    f" CAST(:now_us AS bigint), {_COLUMNS} FROM dead_letters"
    " WHERE consumer = :consumer AND event_id = :event_id"
)
_HISTORY = sql(
    "SELECT action, actor, note, acted_at_us, payload FROM dead_letter_history"
    " WHERE consumer = :consumer AND event_id = :event_id ORDER BY id"
)

_AT_ONCE: Final = 100

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hand:
    """Who does something with a dead letter, and why."""

    actor: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Redriven:
    """A dead letter that was tried again; `error` is empty if it was applied."""

    event_id: str
    key: str
    error: str


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


async def expire(work: UnitOfWork, incoming: Incoming, consumer: str) -> None:
    """Keeps an event in the history alone: nothing waits behind it, and it is not applied later."""
    await park(work, incoming, consumer, EXPIRED, 0)
    await _keep(work, "expired", consumer, incoming.id, None)
    await work.execute(_RELEASE, consumer=consumer, event_id=incoming.id)


def failure_of(incoming: Incoming, consumer: str, error: str, attempts: int) -> Failure:
    """Tells of an event that was given up; without it, if it cannot be decoded."""
    event = None
    with contextlib.suppress(Undecodable):
        event = None if incoming.route is None else incoming.open()
    headers = incoming.message.headers or {}
    return Failure(
        consumer=consumer,
        event_id=incoming.id,
        type=headers.get("ce-type", ""),
        key=incoming.key,
        error=error,
        attempts=attempts,
        event=event,
    )


async def parked_keys(work: UnitOfWork, consumer: str) -> frozenset[str]:
    """Gives the keys whose events have to be parked."""
    return frozenset(row["key"] for row in await work.fetch_all(_PARKED_KEYS, consumer=consumer))


async def count_parked(work: UnitOfWork, consumer: str, stream: str = "") -> int:
    """Counts the events that a reaction has parked, of one stream or of all."""
    row = await work.fetch_one(_COUNT, consumer=consumer, stream=stream)
    assert row is not None
    count: int = row["count"]
    return count


async def fetch_parked(
    work: UnitOfWork, consumer: str = "", event_id: str = "", key: str = "", most: int = 100
) -> list[Row]:
    """Gives dead letters in the order in which they would be applied; empty means any."""
    return await work.fetch_all(_FIND, consumer=consumer, event_id=event_id, key=key, most=most)


async def fetch_history(work: UnitOfWork, consumer: str, event_id: str) -> list[Row]:
    """Gives what was done with a dead letter, in order, with its payload before each."""
    return await work.fetch_all(_HISTORY, consumer=consumer, event_id=event_id)


async def edit(
    work: UnitOfWork,
    consumer: str,
    event_id: str,
    payload: bytes,
    routes: Mapping[str, Route],
    hand: Hand,
) -> None:
    """Changes what a dead letter says, and keeps what it said.

    Raises `NotFound` if there is none, `FailedPrecondition` if it would not be an event any more.
    """
    row = await _letter(work, consumer, event_id)
    route = routes.get(row["type"])
    try:
        if route is None:
            raise Undecodable(row["type"])
        changed = open(route.message, json.loads(row["headers"]), payload)
        key = str(getattr(changed.data, route.kind.key))
    except Undecodable as error:
        raise FailedPrecondition("NOT_THAT_EVENT", f"This is no {row['type']}.") from error
    if key != row["key"]:
        raise FailedPrecondition("OTHER_KEY", f"{route.kind.key} must stay what it is.")
    await _keep(work, "edited", consumer, event_id, hand)
    await work.execute(_EDIT, consumer=consumer, event_id=event_id, payload=payload)


async def drop(work: UnitOfWork, consumer: str, event_id: str, hand: Hand) -> None:
    """Gives a dead letter up, and keeps it in the history. Raises `NotFound` if there is none."""
    await _letter(work, consumer, event_id)
    await _keep(work, "dropped", consumer, event_id, hand)
    await work.execute(_RELEASE, consumer=consumer, event_id=event_id)


async def redrive(
    database: Database,
    consumer: str,
    stream: str,
    routes: Mapping[str, Route],
    key: str = "",
    hand: Hand | None = None,
) -> AsyncIterator[Redriven]:
    """Applies parked events of a stream, of one key or of all, in order, and tells of each.

    At an event that fails again, the rest of its key stays parked. What is parked behind the others
    while they are applied is applied too.
    """
    failed: set[str] = set()
    after = 0
    while rows := await database.read(_fetch_next, consumer, stream, key, after):
        for row in rows:
            after = row["sequence"]
            if row["key"] in failed:
                continue
            error = ""
            try:
                await database.transact(_apply, consumer, routes, row["event_id"], hand)
            except Exception as problem:
                failed.add(row["key"])
                error = describe_error(problem)
                logger.error("%s could not apply %s: %s", consumer, row["event_id"], error)
            yield Redriven(row["event_id"], row["key"], error)


async def _fetch_next(
    work: UnitOfWork, consumer: str, stream: str, key: str, after: int
) -> list[Row]:
    return await work.fetch_all(
        _NEXT, consumer=consumer, stream=stream, key=key, after=after, most=_AT_ONCE
    )


async def _letter(work: UnitOfWork, consumer: str, event_id: str) -> Row:
    row = await work.fetch_one(_LETTER, consumer=consumer, event_id=event_id)
    if row is None:
        raise NotFound("NO_SUCH_DEAD_LETTER", f"{consumer} has not parked {event_id}.")
    return row


async def _keep(
    work: UnitOfWork, action: str, consumer: str, event_id: str, hand: Hand | None
) -> None:
    hand = hand or Hand("")
    await work.execute(
        _KEEP,
        action=action,
        actor=hand.actor,
        note=hand.note,
        now_us=now_us(),
        consumer=consumer,
        event_id=event_id,
    )


async def _apply(
    work: UnitOfWork,
    consumer: str,
    routes: Mapping[str, Route],
    event_id: str,
    hand: Hand | None,
) -> None:
    row = await work.fetch_one(_LETTER, consumer=consumer, event_id=event_id)
    await _keep(work, "redriven", consumer, event_id, hand)
    # Somebody else may be doing the same: whoever takes the letter away applies it.
    if row is None or not await work.execute(_RELEASE, consumer=consumer, event_id=event_id):
        return
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
