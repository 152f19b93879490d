"""The transaction in which a reaction applies events: its inbox, their order, what is given up."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.trace import Span

from mesh.clock import now_us
from mesh.db import UnitOfWork, sql
from observability import tracing

from . import Dead, Event, Reaction
from .answers import Outcome, check
from .deadletters import BEHIND, EXPIRED, expire, failure_of, park, parked_keys
from .limits import TimedWork
from .routes import Incoming, Route, describe_error

__all__ = ["Entry", "Inbox"]

_KEEP_SEEN_S: Final = 45 * 24 * 3600
_PRUNED_AT_ONCE: Final = 1_000

_SEEN = sql(
    "INSERT INTO inbox (consumer, event_id, applied_at_us) VALUES (:consumer, :event_id, :now_us)"
    " ON CONFLICT (consumer, event_id) DO NOTHING"
)
_NOT_SEEN = sql("DELETE FROM inbox WHERE consumer = :consumer AND event_id = :event_id")
_ADVANCE = sql(
    "INSERT INTO inbox_versions (consumer, key, version) VALUES (:consumer, :key, :version)"
    " ON CONFLICT (consumer, key) DO UPDATE SET version = excluded.version"
    " WHERE inbox_versions.version <= excluded.version"
)
_RETREAT = sql(
    "UPDATE inbox_versions SET version = :version"
    " WHERE consumer = :consumer AND key = :key AND version > :version"
)
# Ids are UUIDv7: they sort by time, and the primary key finds the old ones.
_PRUNE = sql(
    "DELETE FROM inbox WHERE consumer = :consumer AND event_id IN (SELECT event_id FROM inbox"
    " WHERE consumer = :consumer AND event_id < :before ORDER BY event_id LIMIT :most)"
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """An event in the transaction that applies it."""

    incoming: Incoming
    route: Route
    event: Event[Any]
    span: Span


class Inbox:
    """The inbox of one reaction. Its methods are units of work."""

    def __init__(self, consumer: str, options: Reaction) -> None:
        self._consumer = consumer
        self._options = options

    async def park(
        self, work: UnitOfWork, incoming: Incoming, why: str, tries: int, *, tells: bool
    ) -> None:
        """Parks an event that is given up, and tells whoever wants to know, if `tells`."""
        await work.execute(_SEEN, consumer=self._consumer, event_id=incoming.id, now_us=now_us())
        await park(work, incoming, self._consumer, why, tries)
        if tells:
            await self._tell_failure(work, incoming, why, tries)

    async def _bury(self, work: UnitOfWork, incoming: Incoming, why: str, tries: int) -> None:
        """Parks an event that is in the inbox, and tells whoever wants to know."""
        await park(work, incoming, self._consumer, why, tries)
        await self._tell_failure(work, incoming, why, tries)

    async def _tell_failure(
        self, work: UnitOfWork, incoming: Incoming, why: str, tries: int
    ) -> None:
        if self._options.on_failure is not None:
            failure = failure_of(incoming, self._consumer, why, tries)
            await self._options.on_failure(work, failure)

    async def keep(self, work: UnitOfWork, entries: Sequence[Entry]) -> Outcome:
        """Applies what is new, in order. Raises what a handler raises, and `BadAnswer`."""
        outcome = Outcome()
        parked = await parked_keys(work, self._consumer)
        now = now_us()
        fresh: list[Entry] = []
        for entry in entries:
            event = entry.event
            new = await work.execute(_SEEN, consumer=self._consumer, event_id=event.id, now_us=now)
            if not new:
                continue
            if 0 < self._options.max_age_s < (now - event.time_us) / 1_000_000:
                await expire(work, entry.incoming, self._consumer)
                entry.span.add_event("expired")
                await self._tell_failure(work, entry.incoming, EXPIRED, 0)
            elif event.key in parked:
                await self._bury(work, entry.incoming, BEHIND, 0)
                entry.span.add_event("parked", {"error.type": BEHIND})
                outcome.parked += 1
            elif not await self._is_stale(work, event):
                fresh.append(entry)
        if self._options.on_batch is not None:
            await self._handle_together(work, fresh, outcome)
            return outcome
        for entry in fresh:
            with tracing.use(entry.span), self._timed(work) as timed:
                await entry.route.handle(timed, entry.event)
        return outcome

    async def _handle_together(
        self, work: UnitOfWork, fresh: Sequence[Entry], outcome: Outcome
    ) -> None:
        """Gives events to the one handler of all, and does what it answers for each."""
        assert self._options.on_batch is not None
        if not fresh:
            return
        events = [entry.event for entry in fresh]
        with self._timed(work) as timed:
            answers = await self._options.on_batch(timed, events) or {}
        check(answers, events)
        for entry in fresh:
            answer = answers.get(entry.event.id)
            if isinstance(answer, Dead):
                await self._bury(work, entry.incoming, describe_error(answer), 1)
                outcome.parked += 1
            elif answer is not None:
                await self._forget(work, entry.event)
                outcome.again[entry.event.id] = answer

    @contextlib.contextmanager
    def _timed(self, work: UnitOfWork) -> Iterator[UnitOfWork]:
        """The work of one handler, which has so much time and no more."""
        if not self._options.timeout_s:
            yield work
            return
        timed = TimedWork(work, self._options.timeout_s)
        yield timed
        timed.check()

    async def _is_stale(self, work: UnitOfWork, event: Event[Any]) -> bool:
        """Tells whether a later version of the same fact was applied before: a very late repeat.

        Versions are compared for each type: facts of several kinds may share a key.
        """
        if not event.version:
            return False
        newest = await work.execute(
            _ADVANCE, consumer=self._consumer, key=_fact(event), version=event.version
        )
        if not newest:
            logger.warning("%s skips %s: it is older than what it knows", self._consumer, event.id)
        return not newest

    async def _forget(self, work: UnitOfWork, event: Event[Any]) -> None:
        """Takes an event out of the inbox that comes again, and those of its key after it will."""
        await work.execute(_NOT_SEEN, consumer=self._consumer, event_id=event.id)
        if event.version:
            before = event.version - 1
            await work.execute(_RETREAT, consumer=self._consumer, key=_fact(event), version=before)

    async def prune(self, work: UnitOfWork) -> bool:
        """Forgets events that are older than any stream keeps them; tells whether more are left."""
        before_ms = now_us() // 1_000 - _KEEP_SEEN_S * 1_000
        before = f"{before_ms:012x}"
        pruned = await work.execute(
            _PRUNE,
            consumer=self._consumer,
            before=f"{before[:8]}-{before[8:]}",
            most=_PRUNED_AT_ONCE,
        )
        return pruned == _PRUNED_AT_ONCE


def _fact(event: Event[Any]) -> str:
    return f"{event.type}:{event.key}"
