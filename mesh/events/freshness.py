"""Whether the rows of a service include what a reader has seen happen (`mesh.rpc.consistency`).

Theory of operation. A token names events by their ids. An event's place in its stream is looked up
at the server: it is the last one of its subject as a rule, or one that came shortly after its id
was made. A projection includes it once its cursor, which is kept in the transaction of the rows, is
at that place or beyond. So the answer holds in every process of the service, and costs nothing
where no token is given. What cannot be found out, because NATS is away or the event was not sent
yet, counts as not included: the reader is told that this service is behind, and is never given old
rows silently.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Protocol

from mesh.clock import from_us, now_us
from mesh.db import Database, UnitOfWork, sql
from mesh.errors import Behind, Transient
from mesh.rpc.consistency import Told
from mesh.rpc.context import remaining_s

from .envelope import token_of
from .history import header_of
from .jetstream import ApiError, Connection, Jetstream
from .projection import ProjectionLoop

__all__ = ["LONGEST_WAIT_S", "Freshness", "Seen", "Sight", "wait_until_seen"]

LONGEST_WAIT_S: Final = 0.5
"""How long a read waits for what it must include."""

_LOOK_AGAIN_S: Final = 0.02
_NO_MESSAGE: Final = 10037
# Clocks of the publisher and of the server may differ by so much.
_SKEW: Final = timedelta(seconds=2)
_MOST_LOOKS: Final = 256
_PLACES_KEPT: Final = 10_000

_CURSORS = sql("SELECT projection, stream, sequence FROM cursors")

Seen = Mapping[tuple[str, str], int]
"""How far projections are: a place by projection and stream."""


class Sight(Protocol):
    """What is looked at to know whether something is included."""

    async def place_of(self, stream: str, told: Told) -> int | None:
        """Gives the place of an event in its stream; None if it is not known to have one."""

    async def seen(self) -> Seen:
        """Tells how far projections are."""

    async def rest(self) -> bool:
        """Waits for a change; false if the time to wait is over."""


async def wait_until_seen(
    wanted: Sequence[tuple[str, str, Told]], sight: Sight, retry_after_s: float = 1.0
) -> None:
    """Returns once each event is included in the rows of its projection.

    `wanted` holds a projection, a stream and an event. Whoever reads the rows afterwards reads the
    events too. Raises `Behind` when the time is over.
    """
    places: dict[str, int] = {}
    while True:
        for _, stream, told in wanted:
            if told.event_id not in places:
                place = await sight.place_of(stream, told)
                if place is not None:
                    places[told.event_id] = place
        if all(told.event_id in places for _, _, told in wanted):
            seen = await sight.seen()
            if all(
                seen.get((projection, stream), 0) >= places[told.event_id]
                for projection, stream, told in wanted
            ):
                return
        if not await sight.rest():
            raise Behind(
                "READ_IS_BEHIND", "What you ask for is not here yet; ask again.", retry_after_s
            )


class Freshness:
    """The freshness of a service's projections."""

    def __init__(
        self, database: Database, jetstream: Jetstream, projections: Sequence[ProjectionLoop]
    ) -> None:
        self._database = database
        self._jetstream = jetstream
        self._readers: dict[str, list[ProjectionLoop]] = {}
        self._places: dict[str, int] = {}
        self._news = asyncio.Event()
        for loop in projections:
            loop.on_applied.append(self._tell)
            for name in loop.routes:
                self._readers.setdefault(name, []).append(loop)

    async def wait(self, told: Iterable[Told]) -> None:
        """Waits until the projections of this service include the events, as far as they hear them.

        Raises `Behind` when they do not after half a second, or half of what the call has left.
        """
        wanted = [
            (loop.name, loop.stream, each)
            for each in told
            for loop in self._readers.get(each.type, ())
        ]
        if wanted:
            left = remaining_s()
            limit = LONGEST_WAIT_S if left is None else min(LONGEST_WAIT_S, left / 2)
            await wait_until_seen(wanted, _Looking(self, limit))

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def changed(self, most_s: float) -> None:
        """Waits for a projection of this process to move, or for so long."""
        news = self._news
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                await news.wait()

    async def seen(self) -> Seen:
        """Tells how far projections are."""
        return await self._database.read(_fetch_cursors)

    async def place_of(self, stream: str, told: Told) -> int | None:
        """Gives the place of an event in its stream, if it can be found out."""
        place = self._places.get(told.event_id)
        if place is None and self._jetstream.missing() is None:
            with contextlib.suppress(Transient, ApiError):
                place = await find(await self._jetstream.connection(), stream, told)
        if place is not None:
            if len(self._places) >= _PLACES_KEPT:
                self._places.clear()
            self._places[told.event_id] = place
        return place


class _Looking:
    """One read that waits."""

    def __init__(self, freshness: Freshness, limit_s: float) -> None:
        self._clock = asyncio.get_running_loop().time
        self._freshness = freshness
        self._until = self._clock() + limit_s
        self.seen = freshness.seen
        self.place_of = freshness.place_of

    async def rest(self) -> bool:
        left = self._until - self._clock()
        if left <= 0:
            return False
        await self._freshness.changed(min(left, _LOOK_AGAIN_S))
        return True


async def find(connection: Connection, stream: str, told: Told) -> int | None:
    """Finds the place of an event in its stream; None if it is not there.

    An event that was there before what the stream still has is at the place before its first.

    Raises `Transient` or `ApiError`.
    """
    subject = f"{told.type}.{token_of(told.key)}"
    last = await _message(connection, stream, {"last_by_subj": subject})
    if last is not None and header_of(last, "ce-id") == told.event_id:
        return int(last["seq"])
    made_us = (uuid.UUID(told.event_id).int >> 80) * 1_000
    since = from_us(made_us) - _SKEW
    look: dict[str, Any] = {"next_by_subj": subject, "start_time": since.isoformat()}
    for _ in range(_MOST_LOOKS):
        message = await _message(connection, stream, look)
        if message is None:
            break
        if header_of(message, "ce-id") == told.event_id:
            return int(message["seq"])
        look = {"next_by_subj": subject, "seq": message["seq"] + 1}
    return await _place_of_dropped(connection, stream, made_us)


async def _place_of_dropped(connection: Connection, stream: str, made_us: int) -> int | None:
    info = await connection.api(f"STREAM.INFO.{stream}")
    max_age_us = info["config"].get("max_age", 0) // 1_000
    is_dropped = 0 < max_age_us < now_us() - made_us
    return info["state"]["first_seq"] - 1 if is_dropped else None


async def _message(
    connection: Connection, stream: str, look: Mapping[str, Any]
) -> dict[str, Any] | None:
    try:
        found = await connection.api(f"STREAM.MSG.GET.{stream}", look)
    except ApiError as error:
        if error.code != _NO_MESSAGE:
            raise
        return None
    message: dict[str, Any] = found["message"]
    return message


async def _fetch_cursors(work: UnitOfWork) -> Seen:
    rows = await work.fetch_all(_CURSORS)
    return {(row["projection"], row["stream"]): row["sequence"] for row in rows}
