"""What a stream has taken from its publisher, and whether it still has it.

The relay keeps the place and the id of the last event of each stream, in the transaction that marks
events as sent. Storage that was rolled back, lost or exchanged is found out by it: the place is
beyond the end of the stream, or holds another event.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mesh.db import Database, UnitOfWork, sql
from mesh.errors import Transient

from .jetstream import ApiError, Connection

__all__ = [
    "Mark",
    "StreamLost",
    "fetch_mark",
    "forget_mark",
    "header_of",
    "id_at",
    "keep_mark",
    "must_be_whole",
]

_NO_MESSAGE = 10037

_KEEP = sql(
    "INSERT INTO event_streams (stream, sequence, event_id)"
    " VALUES (:stream, :sequence, :event_id)"
    " ON CONFLICT (stream) DO UPDATE SET sequence = excluded.sequence,"
    " event_id = excluded.event_id WHERE event_streams.sequence < excluded.sequence"
)
_FORGET = sql("DELETE FROM event_streams WHERE stream = :stream")
_FETCH = sql("SELECT stream, sequence, event_id FROM event_streams WHERE stream = :stream")


@dataclass(frozen=True, slots=True)
class Mark:
    """The last event that a stream has taken."""

    stream: str
    sequence: int
    event_id: str


class StreamLost(Transient):
    """A stream lacks events that it has acknowledged: `reconcile` sends them again."""

    def __init__(self, message: str) -> None:
        super().__init__("STREAM_LOST", message)


async def keep_mark(work: UnitOfWork, mark: Mark) -> None:
    """Keeps the last event of a stream, unless a later one is kept."""
    await work.execute(_KEEP, stream=mark.stream, sequence=mark.sequence, event_id=mark.event_id)


async def fetch_mark(work: UnitOfWork, stream: str) -> Mark | None:
    """Gives the last event that a stream has taken, if it has taken any."""
    row = await work.fetch_one(_FETCH, stream=stream)
    return None if row is None else Mark(row["stream"], row["sequence"], row["event_id"])


async def forget_mark(work: UnitOfWork, stream: str) -> None:
    """Forgets what a stream has taken: it is what it is now."""
    await work.execute(_FORGET, stream=stream)


async def must_be_whole(connection: Connection, database: Database, stream: str) -> None:
    """Raises `StreamLost` if a stream lacks the last event that it has taken.

    A stream that has dropped it for its age is whole. Raises `Transient` or `ApiError`, too.
    """
    mark = await database.read(fetch_mark, stream)
    if mark is None:
        return
    try:
        state = (await connection.api(f"STREAM.INFO.{stream}"))["state"]
    except ApiError as error:
        if error.code != ApiError.STREAM_NOT_FOUND:
            raise
        raise StreamLost(f"stream {stream} is gone, with {mark.sequence} events") from None
    if state["last_seq"] < mark.sequence:
        raise StreamLost(
            f"stream {stream} ends at {state['last_seq']}, and has taken {mark.sequence} events"
        )
    if mark.sequence >= state["first_seq"]:
        found = await id_at(connection, stream, mark.sequence)
        if found not in (None, mark.event_id):
            raise StreamLost(f"stream {stream} has another event at {mark.sequence} than it took")


async def id_at(connection: Connection, stream: str, sequence: int) -> str | None:
    """Gives the id of the event at a place of a stream; None if there is none."""
    try:
        found = await connection.api(f"STREAM.MSG.GET.{stream}", {"seq": sequence})
    except ApiError as error:
        if error.code != _NO_MESSAGE:
            raise
        return None
    return header_of(found["message"], "ce-id")


def header_of(message: Mapping[str, Any], wanted: str) -> str:
    """Reads a header of a message as the API of JetStream gives it; empty if it has none."""
    for line in base64.b64decode(message.get("hdrs", "")).decode().split("\r\n"):
        name, _, value = line.partition(":")
        if name == wanted:
            return value.strip()
    return ""
