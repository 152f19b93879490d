"""The database of spans, and the one thread that writes it.

Taking a batch costs an append: it is kept as it came. Reading spans out of it comes later, a
little at a time, because the bank needs the processor more; a query first waits until everything
that was accepted before it is read.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .spans import NotSpans, Row, read

__all__ = ["Figures", "Limits", "Store"]

_TICK_S: Final = 0.1
_SHARE_WHILE_BUSY: Final = 0.05
_SHARE_WHEN_QUIET: Final = 0.5
_QUIET_S: Final = 1.0
_MAX_CREDIT_S: Final = 0.05
_HOUSEKEEPING_S: Final = 2.0
_DELETE_AT_ONCE: Final = 5_000
_FILE: Final = "traces.db"

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS batch (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS resource (
    id INTEGER PRIMARY KEY, service TEXT NOT NULL, body BLOB NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS scope (id INTEGER PRIMARY KEY, body BLOB NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS operation (
    id INTEGER PRIMARY KEY, service TEXT NOT NULL, name TEXT NOT NULL, kind INTEGER NOT NULL,
    seen INTEGER NOT NULL, UNIQUE (service, name, kind));
CREATE TABLE IF NOT EXISTS span (
    position INTEGER PRIMARY KEY, trace BLOB NOT NULL, id BLOB NOT NULL, parent BLOB,
    operation INTEGER NOT NULL, resource INTEGER NOT NULL, scope INTEGER NOT NULL,
    start INTEGER NOT NULL, duration INTEGER NOT NULL, error INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS span_of_trace ON span (trace, id);
CREATE INDEX IF NOT EXISTS span_of_operation ON span (operation, start);
"""
_VERSION: Final = 1

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much is kept: spans, their age, and bytes that are accepted and not read yet."""

    spans: int = 500_000
    age_s: float = 48 * 3600
    backlog_bytes: int = 256 << 20
    pending_bytes: int = 64 << 20


@dataclass
class Figures:
    """What became of what came in."""

    accepted_batches: int = 0
    stored_spans: int = 0
    rejected_spans: int = 0
    rejected_batches: int = 0
    expired_spans: int = 0
    overflowed_batches: int = 0


@dataclass
class _Backlog:
    """The batches in the database that are not read yet: their ids and sizes, oldest first."""

    batches: deque[tuple[int, int]] = field(default_factory=deque)
    size: int = 0


class Store:
    """Spans in a SQLite database in the directory `data`."""

    def __init__(self, data: Path, limits: Limits | None = None) -> None:
        self.path = data / _FILE
        self.figures = Figures()
        self._limits = limits or Limits()
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._arrived = 0.0
        self._turned = time.monotonic()
        self._credit_s = 0.0
        self._backlog = _Backlog()
        self._waiters: deque[Future[None]] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._resources: dict[bytes, int] = {}
        self._scopes: dict[bytes, int] = {}
        self._operations: dict[tuple[str, str, int], int] = {}
        self._next_housekeeping = 0.0
        self._thread = threading.Thread(target=self._run, name="trace-store", daemon=True)

    def start(self) -> None:
        """Opens the database, makes its tables, and starts the thread."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._prepare()
        self._thread.start()

    def stop(self) -> None:
        """Writes what was accepted and closes the database."""
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def accept(self, batch: bytes) -> bool:
        """Takes a batch; False if too much waits. Never blocks."""
        if self._pending_bytes + len(batch) > self._limits.pending_bytes or self._stopping:
            return False
        self._pending_bytes += len(batch)
        self._pending.append(batch)
        self._arrived = time.monotonic()
        self.figures.accepted_batches += 1
        return True

    async def settle(self) -> None:
        """Waits until everything that was accepted so far can be found."""
        done: Future[None] = Future()
        self._waiters.append(done)
        self._wake.set()
        await asyncio.wrap_future(done)

    def connect(self) -> sqlite3.Connection:
        """Opens a connection that only reads. The caller closes it."""
        return sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, isolation_level=None)

    def _prepare(self) -> None:
        database = self._open()
        try:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _VERSION):
                raise RuntimeError(f"{self.path} is of another version; delete it")
            database.executescript(_SCHEMA)
            database.execute(f"PRAGMA user_version = {_VERSION}")
            for id_, size in database.execute("SELECT id, length(body) FROM batch ORDER BY id"):
                self._backlog.batches.append((id_, size))
                self._backlog.size += size
        finally:
            database.close()

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, isolation_level=None, timeout=10)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA cache_size = -16384")
        return database

    def _run(self) -> None:
        database = self._open()
        try:
            while not self._stopping:
                self._wake.wait(_TICK_S)
                self._wake.clear()
                self._turn(database)
            self._turn(database)
        finally:
            while self._waiters:
                self._waiters.popleft().cancel()
            database.close()

    def _turn(self, database: sqlite3.Connection) -> None:
        """Does one transaction's work; a failure of it is told to the queries that wait."""
        waiters = [self._waiters.popleft() for _ in range(len(self._waiters))]
        now = time.monotonic()
        keeps_house = now >= self._next_housekeeping
        if not (waiters or self._pending or self._backlog.batches or keeps_house):
            return
        try:
            database.execute("BEGIN IMMEDIATE")
            self._read_some(database, now + self._budget_s(bool(waiters), now))
            self._credit_s = max(self._credit_s - (time.monotonic() - now), -_MAX_CREDIT_S)
            if keeps_house:
                self._next_housekeeping = now + (0 if self._expire(database) else _HOUSEKEEPING_S)
            database.execute("COMMIT")
        except Exception as error:
            _log.exception("the trace store could not write")
            self._recover(database)
            for waiter in waiters:
                if waiter.set_running_or_notify_cancel():
                    waiter.set_exception(error)
            return
        for waiter in waiters:
            if waiter.set_running_or_notify_cancel():
                waiter.set_result(None)

    def _budget_s(self, is_awaited: bool, now: float) -> float:
        """Gives the time for reading spans in this turn: little while more come in.

        Keeping a batch as it came costs a tenth of reading it, and the load ends some time.
        """
        is_quiet = now - self._arrived >= _QUIET_S
        is_long = self._backlog.size > self._limits.backlog_bytes // 2
        share = _SHARE_WHEN_QUIET if is_quiet or is_long else _SHARE_WHILE_BUSY
        self._credit_s = min(self._credit_s + (now - self._turned) * share, _MAX_CREDIT_S)
        self._turned = now
        if is_awaited:
            return float("inf")
        return 0.0 if self._stopping else self._credit_s

    def _recover(self, database: sqlite3.Connection) -> None:
        """Forgets what a transaction that was rolled back may have remembered."""
        if database.in_transaction:
            database.execute("ROLLBACK")
        self._resources.clear()
        self._scopes.clear()
        self._operations.clear()
        self._backlog = _Backlog()
        for id_, size in database.execute("SELECT id, length(body) FROM batch ORDER BY id"):
            self._backlog.batches.append((id_, size))
            self._backlog.size += size

    def _read_some(self, database: sqlite3.Connection, until: float) -> None:
        """Reads batches, oldest first, until the time is over; the rest is kept as it came."""
        backlog = self._backlog
        while backlog.batches and time.monotonic() < until:
            id_, size = backlog.batches.popleft()
            backlog.size -= size
            (body,) = database.execute("SELECT body FROM batch WHERE id = ?", (id_,)).fetchone()
            self._insert(database, body)
            database.execute("DELETE FROM batch WHERE id = ?", (id_,))
        for _ in range(len(self._pending)):
            body = self._pending.popleft()
            self._pending_bytes -= len(body)
            if time.monotonic() < until:
                self._insert(database, body)
            else:
                inserted = database.execute("INSERT INTO batch (body) VALUES (?)", (body,))
                backlog.batches.append((inserted.lastrowid or 0, len(body)))
                backlog.size += len(body)
        while backlog.size > self._limits.backlog_bytes:
            id_, size = backlog.batches.popleft()
            backlog.size -= size
            self.figures.overflowed_batches += 1
            database.execute("DELETE FROM batch WHERE id = ?", (id_,))

    def _insert(self, database: sqlite3.Connection, body: bytes) -> None:
        try:
            rows, rejected = read(body)
        except NotSpans:
            self.figures.rejected_batches += 1
            return
        self.figures.rejected_spans += rejected
        self.figures.stored_spans += len(rows)
        database.executemany(
            "INSERT INTO span (trace, id, parent, operation, resource, scope, start, duration, "
            "error, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    row.trace,
                    row.id,
                    row.parent,
                    self._operation(database, row),
                    self._resource(database, row),
                    self._scope(database, row),
                    row.start,
                    row.duration,
                    row.error,
                    row.body,
                )
                for row in rows
            ],
        )

    def _operation(self, database: sqlite3.Connection, row: Row) -> int:
        key = (row.service, row.name, row.kind)
        known = self._operations.get(key)
        if known is None:
            (known,) = database.execute(
                "INSERT INTO operation (service, name, kind, seen) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET seen = max(seen, excluded.seen) RETURNING id",
                (*key, row.start),
            ).fetchone()
            self._operations[key] = known
        return known

    def _resource(self, database: sqlite3.Connection, row: Row) -> int:
        known = self._resources.get(row.resource)
        if known is None:
            (known,) = database.execute(
                "INSERT INTO resource (service, body) VALUES (?, ?) "
                "ON CONFLICT DO UPDATE SET service = service RETURNING id",
                (row.service, row.resource),
            ).fetchone()
            self._resources[row.resource] = known
        return known

    def _scope(self, database: sqlite3.Connection, row: Row) -> int:
        known = self._scopes.get(row.scope)
        if known is None:
            (known,) = database.execute(
                "INSERT INTO scope (body) VALUES (?) "
                "ON CONFLICT DO UPDATE SET body = body RETURNING id",
                (row.scope,),
            ).fetchone()
            self._scopes[row.scope] = known
        return known

    def _expire(self, database: sqlite3.Connection) -> bool:
        """Deletes some of what is too old or too much; tells whether there may be more."""
        oldest, newest = database.execute(
            "SELECT min(position), max(position) FROM span"
        ).fetchone()
        if oldest is None:
            return False
        before = time.time_ns() - int(self._limits.age_s * 1e9)
        surplus = newest - oldest + 1 - self._limits.spans
        deleted = database.execute(
            "DELETE FROM span WHERE position < ? AND (position < ? OR start < ?)",
            (oldest + _DELETE_AT_ONCE, oldest + max(surplus, 0), before),
        ).rowcount
        self.figures.expired_spans += deleted
        if deleted:
            self._forget_operations(database)
        return deleted > 0

    def _forget_operations(self, database: sqlite3.Connection) -> None:
        gone = database.execute(
            "DELETE FROM operation WHERE NOT EXISTS "
            "(SELECT 1 FROM span WHERE span.operation = operation.id)"
        ).rowcount
        if gone:
            self._operations.clear()
