"""The relay: what was committed to the outbox is told, in order, and marked once it is on disk.

It is woken by the commit, and looks by itself now and then. It sends right behind the place where
the stream ended when it last knew, and the server refuses it when somebody else has sent meanwhile:
a relay that was frozen with events in its hands, and has lost its lease, repeats nothing. When it
cannot know where the stream ends, at the start and after a failure, it looks for its events there
before it reads what is unsent. So two relays at once send each event once, and in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from time import perf_counter
from typing import Final

from google.protobuf import descriptor_pool
from google.protobuf.message import Message
from opentelemetry.trace import SpanContext, SpanKind

from mesh.clock import now_us
from mesh.db import Database, Row, UnitOfWork, sql
from mesh.db.outbox import Envelope, envelope_of
from mesh.errors import Transient
from observability import metrics, semconv, tracing

from .backoff import Backoff
from .envelope import PARENT_SPAN, EventType, describe
from .history import Mark, StreamLost, keep_mark, must_be_whole
from .jetstream import ApiError, Connection, Jetstream
from .stream import MAX_BATCH, StreamSettings, create_stream, end_of, ids_at_end, put

__all__ = ["Relay"]

_POLL_S: Final = 1.0
# Under load, what is committed meanwhile is sent together; an event alone does not wait.
_PACE_S: Final = 0.004
_TAIL: Final = 5 * MAX_BATCH
_COUNT_EVERY_S: Final = 5.0
_PRUNE_EVERY_S: Final = 600.0
_KEEP_SENT_US: Final = 7 * 24 * 3600 * 1_000_000
_PRUNED_AT_ONCE: Final = 1_000

_UNSENT = sql(
    "SELECT id, event_id, subject, type, key, version, headers, payload, created_at_us"
    " FROM outbox WHERE sent_at_us IS NULL ORDER BY id LIMIT :most"
)
_COUNT = sql("SELECT count(*) AS count FROM outbox WHERE sent_at_us IS NULL")
_MARK = sql("UPDATE outbox SET sent_at_us = :now_us WHERE id = :id")
_PRUNE = sql(
    "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox"
    " WHERE sent_at_us IS NOT NULL AND sent_at_us < :before_us ORDER BY id LIMIT :most)"
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Kept:
    id: int
    kind: EventType
    envelope: Envelope


class Relay:
    """Sends what the outbox holds.

    `backlog_since_us` is the time of the oldest unsent event, `pending` how many there were when it
    last looked.
    """

    def __init__(
        self,
        database: Database,
        jetstream: Jetstream,
        settings: StreamSettings | None = None,
        *,
        publishes: Sequence[type[Message]] = (),
    ) -> None:
        self._database = database
        self._jetstream = jetstream
        self._publishes = [describe(message.DESCRIPTOR) for message in publishes]
        self.settings = settings or StreamSettings()
        self._news = asyncio.Event()
        self._ends: dict[str, int] = {}
        self._recorded: set[int] = set()
        self._streams: tuple[Connection | None, set[str]] = (None, set())
        self.problem = ""
        self.backlog_since_us: int | None = None
        self.pending = 0
        self._count_at = 0.0

    @property
    def published(self) -> list[EventType]:
        """An event of each stream that is known to be needed."""
        return list({kind.stream: kind for kind in self._publishes}.values())

    def wake(self) -> None:
        """Tells that something was committed."""
        self._news.set()

    async def run(self) -> None:
        """Relays until it is cancelled."""
        self._ends = {}
        backoff = Backoff(first_s=0.05, cap_s=5.0)
        prune_at = 0.0
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._news.clear()
                began_at = loop.time()
                if sent := await self.step():
                    backoff.reset()
                    took = loop.time() - began_at
                    # A backlog leaves a third of the time to those who wait for an answer.
                    await asyncio.sleep(took / 2 if sent == MAX_BATCH else _PACE_S - took)
                    continue
                is_ready = await self._ensure_published()
                if loop.time() >= prune_at:
                    if await self._database.transact(_prune):
                        continue
                    prune_at = loop.time() + _PRUNE_EVERY_S
            except (Transient, ApiError) as error:
                logger.warning("events wait in the outbox: %s", error)
                await asyncio.sleep(backoff.next())
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S if is_ready else _POLL_S / 10):
                    await self._news.wait()

    async def empty(self) -> None:
        """Sends all there is, and returns at the first failure."""
        with contextlib.suppress(Transient, ApiError):
            while await self.step():
                pass

    async def step(self) -> int:
        """Sends up to a hundred events, the oldest first; tells how many.

        Raises `Transient` or `ApiError`; what was sent and not marked is then looked for.
        """
        rows = await self._database.read(_fetch_unsent, MAX_BATCH)
        await self._count(len(rows))
        if not rows:
            self.backlog_since_us = None
            return 0
        self.backlog_since_us = rows[0]["created_at_us"]
        connection = await self._jetstream.connection()
        known: dict[str, int] = {}
        waiting = [_kept(row) for row in rows]
        while unsure := {each.kind for each in waiting if each.kind.stream not in self._ends}:
            for stream, kind in {kind.stream: kind for kind in unsure}.items():
                await self._ensure(connection, stream, kind)
                self._ends[stream] = await end_of(connection, stream)
                known |= await ids_at_end(connection, stream, _TAIL)
            # Another relay may have marked what it has sent by now: what is still unsent counts.
            waiting = [_kept(row) for row in await self._database.read(_fetch_unsent, MAX_BATCH)]
        ends, self._ends = self._ends, {}
        for stream, group in groupby(waiting, key=lambda kept: kept.kind.stream):
            ends[stream] = await self._send(connection, stream, list(group), known, ends[stream])
        self._ends = ends
        return len(waiting)

    async def _count(self, fetched: int) -> None:
        """Counts what waits; a backlog is counted now and then, for that takes reading it."""
        if fetched < MAX_BATCH:
            self.pending = fetched
        elif (now := perf_counter()) >= self._count_at:
            self.pending = await self._database.read(_count_unsent)
            self._count_at = now + _COUNT_EVERY_S

    async def _send(
        self,
        connection: Connection,
        stream: str,
        batch: Sequence[_Kept],
        known: Mapping[str, int],
        end: int,
    ) -> int:
        """Sends events of one stream, but those that are there, and marks them; gives its end."""
        await self._ensure(connection, stream, batch[0].kind)
        unknown = [kept.envelope for kept in batch if kept.envelope.event_id not in known]
        if unknown:
            end = await _timed(put(connection, unknown, after=end))
        last = batch[-1].envelope.event_id
        # A failure to mark them sends them again; their spans are recorded already.
        record_sent([kept for kept in batch if kept.id not in self._recorded])
        self._recorded = {kept.id for kept in batch}
        for kept in batch:
            metrics.MESSAGING_CLIENT_SENT_MESSAGES.add(1, kept.kind.template)
        mark = Mark(stream, known.get(last, end), last)
        await self._database.transact(_mark, [kept.id for kept in batch], mark)
        return end

    async def _ensure_published(self) -> bool:
        """Makes the streams that are known to be needed; tells whether there was a server to."""
        if self._publishes:
            if self._jetstream.missing() is not None:
                return False
            connection = await self._jetstream.connection()
            for kind in self._publishes:
                await self._ensure(connection, kind.stream, kind)
        return True

    async def _ensure(self, connection: Connection, stream: str, kind: EventType) -> None:
        """Makes a stream when it is missing; asked once for each connection.

        A stream that lacks what it has taken is left alone, and events wait: what is sent to it now
        would take the places of those that it has lost.
        """
        asked_on, known = self._streams
        if asked_on is not connection:
            known = set()
            self._streams = (connection, known)
        if stream not in known:
            try:
                await must_be_whole(connection, self._database, stream)
            except StreamLost as error:
                self.problem = error.message
                raise
            self.problem = ""
            await create_stream(connection, kind, self.settings)
            known.add(stream)


async def _timed(sending: Awaitable[int]) -> int:
    """Counts how long it takes to send a batch."""
    began, error_type = perf_counter(), ""
    try:
        return await sending
    except BaseException as error:
        error_type = type(error).__qualname__
        raise
    finally:
        metrics.MESSAGING_CLIENT_OPERATION_DURATION.record(
            perf_counter() - began, "send", error_type
        )


def record_sent(batch: Sequence[_Kept]) -> None:
    """Records the producer's span of each event, under the ids that the event carries."""
    sent_at_ns = now_us() * 1_000
    for kind, envelope, context, parent in _sampled(batch):
        attributes: dict[str, str | int] = {
            semconv.MESSAGING_SYSTEM: "nats",
            semconv.MESSAGING_OPERATION_TYPE: "send",
            semconv.MESSAGING_OPERATION_NAME: "send",
            semconv.MESSAGING_DESTINATION_NAME: envelope.subject,
            semconv.MESSAGING_DESTINATION_TEMPLATE: kind.template,
            semconv.MESSAGING_MESSAGE_ID: envelope.event_id,
            semconv.MESSAGING_MESSAGE_BODY_SIZE: len(envelope.payload),
            semconv.MESSAGING_NATS_STREAM: kind.stream,
            semconv.SERVICE_PEER_NAME: "nats",
            semconv.PEER_SERVICE: "nats",
        }
        if len(batch) > 1:
            attributes[semconv.MESSAGING_BATCH_MESSAGE_COUNT] = len(batch)
        tracing.record(
            f"send {kind.template}",
            SpanKind.PRODUCER,
            context,
            parent,
            envelope.created_at_us * 1_000,
            sent_at_ns,
            attributes,
        )


def _sampled(
    batch: Sequence[_Kept],
) -> Iterator[tuple[EventType, Envelope, SpanContext, SpanContext | None]]:
    for kept in batch:
        headers = kept.envelope.headers
        context = tracing.parse(headers.get("traceparent"))
        if context is None or not context.trace_flags.sampled:
            continue
        parent_id = headers.get(PARENT_SPAN)
        parent = (
            SpanContext(context.trace_id, int(parent_id, 16), False, context.trace_flags)
            if parent_id
            else None
        )
        yield kept.kind, kept.envelope, context, parent


def _kept(row: Row) -> _Kept:
    descriptor = descriptor_pool.Default().FindMessageTypeByName(row["type"])
    return _Kept(row["id"], describe(descriptor), envelope_of(row))


async def _count_unsent(work: UnitOfWork) -> int:
    row = await work.fetch_one(_COUNT)
    assert row is not None
    count: int = row["count"]
    return count


async def _fetch_unsent(work: UnitOfWork, most: int) -> list[Row]:
    return await work.fetch_all(_UNSENT, most=most)


async def _mark(work: UnitOfWork, ids: Sequence[int], mark: Mark) -> None:
    now = now_us()
    await keep_mark(work, mark)
    await work.execute_many(_MARK, [{"id": each, "now_us": now} for each in ids])


async def _prune(work: UnitOfWork) -> bool:
    """Forgets some of what was sent long ago; tells whether there may be more of it."""
    before = now_us() - _KEEP_SENT_US
    return await work.execute(_PRUNE, before_us=before, most=_PRUNED_AT_ONCE) == _PRUNED_AT_ONCE
