"""The loop of a projection: one stream, in order, its cursor in the transaction of its rows.

The server keeps no state for it: an ephemeral consumer without acks reads on from the cursor, and
whatever goes wrong, the loop starts over there. Nothing is seen twice and nothing is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from opentelemetry.trace import INVALID_SPAN, Span

from mesh.db import Database, UnitOfWork, sql
from mesh.errors import Transient
from mesh.ids import new_id
from observability import metrics, tracing

from . import Event
from .backoff import Backoff
from .jetstream import ApiError, Connection, Jetstream
from .limits import Permits
from .pull import Pull
from .routes import Incoming, Route, describe_error, span_of, wait_for_stream

__all__ = ["ProjectionLoop"]

_BATCH: Final = 200
_BUFFER: Final = 1_000
_INACTIVE_S: Final = 60

_OPEN_CURSOR = sql(
    "INSERT INTO cursors (projection, stream, sequence) VALUES (:projection, :stream, 0)"
    " ON CONFLICT (projection, stream) DO NOTHING"
)
_CURSOR = sql("SELECT sequence FROM cursors WHERE projection = :projection AND stream = :stream")
_MOVE_CURSOR = sql(
    "UPDATE cursors SET sequence = :after"
    " WHERE projection = :projection AND stream = :stream AND sequence = :before"
)

Entry = tuple[Route, Event[Any], Span]

logger = logging.getLogger(__name__)


class CursorMoved(Transient):
    """Another process has applied these events."""

    def __init__(self) -> None:
        super().__init__("CURSOR_MOVED", "The projection was moved on by another process.")


class ProjectionLoop:
    """Applies the events of one stream to a projection, for as long as it runs."""

    def __init__(
        self,
        database: Database,
        jetstream: Jetstream,
        *,
        service: str,
        name: str,
        stream: str,
        routes: Mapping[str, Route],
        retry_s: float = 0.05,
        is_observed: bool = True,
    ) -> None:
        self._database = database
        self._jetstream = jetstream
        self.name = name
        self.stream = stream
        self.routes = routes
        self._retry_s = retry_s
        self._is_observed = is_observed
        self.consumer = f"{service}-{name}"
        self._cursor = 0
        self._problem = ""
        self._permits = Permits(1)
        self.on_applied: list[Callable[[], None]] = []

    def missing(self) -> str | None:
        """Says why the projection does not move, if it does not."""
        return f"projection {self.name}: {self._problem}" if self._problem else None

    @property
    def declared(self) -> int:
        """A projection is always meant to run."""
        return 1

    @property
    def concurrency(self) -> int:
        """1, or 0 while it is paused."""
        return self._permits.limit

    def set_concurrency(self, concurrency: int) -> None:
        """Pauses the projection, or lets it go on; more than one at a time there is not."""
        self._permits.resize(min(concurrency, 1))

    async def run(self) -> None:
        """Reads and applies until it is cancelled."""
        backoff = Backoff(first_s=self._retry_s, cap_s=5.0)
        while True:
            started_at = time.monotonic()
            try:
                await self._read()
            except (Transient, ApiError) as error:
                if time.monotonic() - started_at > 10:
                    backoff.reset()
                logger.info("projection %s reads %s anew: %s", self.name, self.stream, error)
                await asyncio.sleep(backoff.next())

    async def _read(self) -> None:
        """Reads on from the cursor until something goes wrong."""
        self._cursor = await self._database.transact(_open_cursor, self.name, self.stream)
        connection = await self._jetstream.connection()
        self._check_history(await wait_for_stream(connection, self.stream))
        consumer = await self._create_consumer(connection)
        expected = 1
        async with Pull(connection, self.stream, consumer, buffer=_BUFFER) as pull:
            while True:
                messages = await pull.take(_BATCH)
                batch = [Incoming(each, self.stream, self.routes) for each in messages]
                for incoming in batch:
                    if incoming.place.delivery != expected:
                        raise Transient("DELIVERY_LOST", "A delivery of the stream was lost.")
                    expected += 1
                await self._permits.acquire()
                try:
                    await self._insist(batch)
                finally:
                    self._permits.release()
                if self._is_observed:
                    lag = batch[-1].place.pending
                    metrics.PROJECTION_LAG.set(lag, f"{self.name} {self.stream}")

    def _check_history(self, state: Mapping[str, int]) -> None:
        """Stops at a stream that is not the one we have read, or has lost what we have not."""
        problem = ""
        if state["last_seq"] < self._cursor:
            problem = f"{self.stream} ends at {state['last_seq']}, before what was read"
        elif self._cursor and state["first_seq"] > self._cursor + 1:
            problem = f"{self.stream} begins at {state['first_seq']}, after what was read"
        if problem:
            self._problem = f"{problem} ({self._cursor}): rebuild the projection"
            raise Transient("STREAM_REPLACED", self._problem)
        self._problem = ""

    async def _create_consumer(self, connection: Connection) -> str:
        name = f"{self.consumer}-{new_id()}"
        config = {
            "name": name,
            "ack_policy": "none",
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self._cursor + 1,
            "filter_subjects": [route.kind.subjects for route in self.routes.values()],
            "inactive_threshold": _INACTIVE_S * 1_000_000_000,
            "mem_storage": True,
            "num_replicas": 1,
        }
        body = {"stream_name": self.stream, "config": config, "action": "create"}
        await connection.api(f"CONSUMER.CREATE.{self.stream}.{name}", body)
        return name

    async def _insist(self, batch: Sequence[Incoming]) -> None:
        """Applies events until they are applied; one that fails is tried alone, for ever."""
        backoff = Backoff(first_s=self._retry_s, cap_s=5.0)
        while True:
            try:
                await self._apply(batch)
            except CursorMoved:
                raise
            except Exception as error:
                if len(batch) > 1:
                    for incoming in batch:
                        await self._insist([incoming])
                    return
                place = f"{self.stream} {batch[0].place.sequence}"
                self._problem = f"{place}: {describe_error(error)}"
                logger.error("projection %s stands at %s", self.name, place, exc_info=error)
                await asyncio.sleep(backoff.next())
            else:
                self._problem = ""
                return

    async def _apply(self, batch: Sequence[Incoming]) -> None:
        """Applies events and moves the cursor, in one transaction. Raises what a handler raises."""
        after = batch[-1].place.sequence
        entries: list[Entry] = []
        started_at = time.perf_counter()
        error_type = ""
        try:
            for incoming in batch:
                if incoming.route is not None:
                    event = incoming.open()
                    # What is applied to rows that nobody reads yet is not seen in traces.
                    span = (
                        span_of(incoming, event, self.consumer)
                        if self._is_observed
                        else INVALID_SPAN
                    )
                    entries.append((incoming.route, event, span))
            # One event is one trace; the transaction of many belongs to none of theirs.
            with tracing.use(entries[0][2]) if len(entries) == 1 else contextlib.nullcontext():
                await self._database.transact(self._keep, entries, self._cursor, after)
        except BaseException as error:
            error_type = type(error).__qualname__
            raise
        finally:
            duration = time.perf_counter() - started_at
            for route, _, span in entries:
                self._report(route, span, error_type, duration)
        self._cursor = after
        for tell in self.on_applied:
            tell()

    def _report(self, route: Route, span: Span, error_type: str, duration_s: float) -> None:
        if error_type:
            tracing.fail(span, error_type)
        span.end()
        if not self._is_observed:
            return
        template = route.kind.template
        metrics.MESSAGING_CLIENT_CONSUMED_MESSAGES.add(1, template, self.consumer)
        metrics.MESSAGING_PROCESS_DURATION.record(duration_s, template, self.consumer, error_type)

    async def _keep(
        self, work: UnitOfWork, entries: Sequence[Entry], before: int, after: int
    ) -> None:
        moved = await work.execute(
            _MOVE_CURSOR, projection=self.name, stream=self.stream, before=before, after=after
        )
        if not moved:
            raise CursorMoved
        for route, event, span in entries:
            with tracing.use(span):
                await route.handle(work, event)


async def _open_cursor(work: UnitOfWork, projection: str, stream: str) -> int:
    await work.execute(_OPEN_CURSOR, projection=projection, stream=stream)
    row = await work.fetch_one(_CURSOR, projection=projection, stream=stream)
    assert row is not None
    sequence: int = row["sequence"]
    return sequence
