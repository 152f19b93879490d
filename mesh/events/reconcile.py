"""Mends a stream that has lost events which it had acknowledged, from the outbox.

The outbox keeps what was sent for a week. Its rows, in the order in which they were sent, are laid
beside the stream: what the stream lacks at its end is sent again, in order, under the same ids. It
takes the places that it had, because the relay sends nothing to a stream that lacks something; so
cursors of projections stay right, and reactions find in their inbox what they have applied.

A stream that is gone is made anew, beginning at the place of the oldest event that is left. What
cannot be mended that way is told, and nothing is sent.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from mesh.db import Database, Row, UnitOfWork, sql
from mesh.db.outbox import Envelope, envelope_of

from .envelope import EventType
from .history import Mark, fetch_mark, forget_mark
from .jetstream import ApiError, Connection
from .stream import MAX_BATCH, StreamSettings, create_stream, ids_at_end, put

__all__ = ["Finding", "reconcile"]

# In the order in which the relay has sent them.
_SENT = sql(
    "SELECT id, event_id, type FROM outbox WHERE sent_at_us IS NOT NULL ORDER BY sent_at_us, id"
)
_EVENT = sql(
    "SELECT event_id, subject, type, key, version, headers, payload, created_at_us FROM outbox"
    " WHERE id = :id"
)
# Events that the service has not sent may stand between its own: they are no reason to miss those.
_OTHERS: Final = 1_000
_NOTHING: Final = {"first_seq": 0, "last_seq": 0, "messages": 0}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of a stream: where it should end, where it did, and what it lacks.

    `problem` says what sending cannot mend; empty when nothing. `must_be_removed` says that it is
    empty, and has to be made anew for its events to have the places that they had.
    """

    stream: str
    expected: int
    found: int
    missing: int = 0
    restored: int = 0
    problem: str = ""
    must_be_removed: bool = False


async def reconcile(
    connection: Connection,
    database: Database,
    kind: EventType,
    settings: StreamSettings,
    *,
    dry_run: bool = False,
    accept_loss: bool = False,
) -> Finding:
    """Compares the stream of an event with what was sent to it, and mends it unless `dry_run`.

    With `accept_loss` a stream that cannot be mended is gone on with as it is.

    Raises `Transient` or `ApiError`; run it again then: what is there is not sent twice.
    """
    stream = kind.stream
    mark = await database.read(fetch_mark, stream)
    state = await _state_of(connection, stream)
    if mark is None:
        return Finding(stream, 0, state["last_seq"])
    package = kind.name.rpartition(".")[0]
    sent = [
        row for row in await database.read(_fetch_sent) if row["type"].rpartition(".")[0] == package
    ]
    finding = Finding(stream, mark.sequence, state["last_seq"])
    held = await ids_at_end(connection, stream, len(sent) + _OTHERS) if state["messages"] else {}
    missing = [row for row in sent if row["event_id"] not in held]
    finding = replace(finding, missing=len(missing))
    if problem := _beyond_mending(mark, state, sent, missing):
        if accept_loss and not dry_run:
            await database.transact(forget_mark, stream)
            logger.warning("stream %s is gone on with as it is: %s", stream, problem)
        return replace(finding, problem=problem)
    if missing and not dry_run:
        first = mark.sequence - len(missing) + 1
        if state["last_seq"] != first - 1 and not await _is_gone(connection, stream):
            return replace(finding, must_be_removed=True)
        await create_stream(connection, kind, settings, first=first)
        await _send(connection, database, missing)
        logger.warning("%d events were sent to %s again", len(missing), stream)
        finding = replace(finding, restored=len(missing))
    return finding


async def _state_of(connection: Connection, stream: str) -> dict[str, int]:
    try:
        state: dict[str, int] = (await connection.api(f"STREAM.INFO.{stream}"))["state"]
    except ApiError as error:
        if error.code != ApiError.STREAM_NOT_FOUND:
            raise
        return dict(_NOTHING)
    return state


def _beyond_mending(
    mark: Mark, state: dict[str, int], sent: Sequence[Row], missing: Sequence[Row]
) -> str:
    """Says why sending what is missing would not make the stream what it was; empty if it does."""
    if missing != list(sent[len(sent) - len(missing) :]):
        return "it lacks events in its middle: what is sent now would come after later ones"
    gap = mark.sequence - len(missing) - state["last_seq"]
    if missing and state["messages"] and gap > 0:
        return f"{gap} events before the oldest in the outbox are lost, too"
    if missing and state["messages"] and gap < 0:
        return f"{-gap} events that this service has not sent stand where its own were"
    if not missing and state["last_seq"] < mark.sequence:
        return f"it ends {mark.sequence - state['last_seq']} events early, and the outbox has none"
    return ""


async def _is_gone(connection: Connection, stream: str) -> bool:
    try:
        await connection.api(f"STREAM.INFO.{stream}")
    except ApiError as error:
        if error.code != ApiError.STREAM_NOT_FOUND:
            raise
        return True
    return False


async def _send(connection: Connection, database: Database, missing: Sequence[Row]) -> None:
    for start in range(0, len(missing), MAX_BATCH):
        ids = [row["id"] for row in missing[start : start + MAX_BATCH]]
        await put(connection, await database.read(_fetch_envelopes, ids))


async def _fetch_sent(work: UnitOfWork) -> list[Row]:
    return await work.fetch_all(_SENT)


async def _fetch_envelopes(work: UnitOfWork, ids: Sequence[int]) -> list[Envelope]:
    found = []
    for each in ids:
        row = await work.fetch_one(_EVENT, id=each)
        assert row is not None
        found.append(envelope_of(row))
    return found
