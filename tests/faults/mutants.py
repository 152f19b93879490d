"""Faults that are planted on purpose: a test that does not catch each of them proves nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf.message import Message
from opentelemetry.trace import INVALID_SPAN

from mesh.db import UnitOfWork, sql, sqlite
from mesh.db.outbox import Envelope
from mesh.errors import Transient
from mesh.events import projection, relay
from mesh.events.answers import Outcome
from mesh.events.inbox import Entry, Inbox
from mesh.events.jetstream import ApiError, Connection, Jetstream
from mesh.events.reaction import Item, ReactionLoop
from mesh.events.stream import put

MUTANTS = (
    "no inbox",
    "publish before commit",
    "mark before publish",
    "ack before commit",
    "no cursor transaction",
)


def plant(mutant: str, jetstream: Jetstream) -> None:
    """Makes this process one that has the fault; an empty name plants none.

    "no sync" is one that only a power cut finds: the database says that it is on disk, and lies.
    """
    if mutant:
        {
            "no inbox": _no_inbox,
            "publish before commit": _publish_before_commit,
            "mark before publish": _mark_before_publish,
            "ack before commit": _ack_before_commit,
            "no cursor transaction": _no_cursor_transaction,
            "no sync": _no_sync,
        }[mutant](jetstream)


def _no_inbox(_: Jetstream) -> None:
    async def keep(self: Inbox, work: UnitOfWork, entries: Sequence[Entry]) -> Outcome:
        for entry in entries:
            await entry.route.handle(work, entry.event)
        return Outcome()

    Inbox.keep = keep  # type: ignore[method-assign]


def _publish_before_commit(jetstream: Jetstream) -> None:
    loop = asyncio.get_running_loop()

    async def tell(envelope: Envelope) -> None:
        with contextlib.suppress(Transient, ApiError):
            await put(await jetstream.connection(), [envelope])

    def publish(self: UnitOfWork, event: Message, /, *, version: int = 0, **_: Any) -> None:
        asyncio.run_coroutine_threadsafe(tell(self.seal(event, version, {})), loop)

    UnitOfWork.publish = publish  # type: ignore[method-assign]


def _mark_before_publish(_: Jetstream) -> None:
    mark = sql("UPDATE outbox SET sent_at_us = 1 WHERE id = :id")

    async def send(
        self: relay.Relay,
        connection: Connection,
        stream: str,
        batch: Sequence[Any],
        known: Any,
        end: int,
    ) -> int:
        rows = [{"id": kept.id} for kept in batch]
        await self._database.transact(lambda work: work.execute_many(mark, rows))
        return await put(connection, [kept.envelope for kept in batch], after=end)

    relay.Relay._send = send  # type: ignore[method-assign]


def _ack_before_commit(_: Jetstream) -> None:
    settle = ReactionLoop._settle

    async def ack_and_settle(
        self: ReactionLoop, connection: Connection, batch: Sequence[Item]
    ) -> None:
        for item in batch:
            await connection.send(item.incoming.message.reply, b"+ACK")
        await settle(self, connection, batch)

    ReactionLoop._settle = ack_and_settle  # type: ignore[method-assign]


def _no_cursor_transaction(_: Jetstream) -> None:
    move = sql(
        "UPDATE cursors SET sequence = :after WHERE projection = :projection AND stream = :stream"
    )

    async def handle(work: UnitOfWork, entries: Sequence[projection.Entry]) -> None:
        for route, event, _ in entries:
            await route.handle(work, event)

    async def apply(self: projection.ProjectionLoop, batch: Sequence[Any]) -> None:
        after = batch[-1].place.sequence
        entries: list[projection.Entry] = [
            (incoming.route, incoming.open(), INVALID_SPAN)
            for incoming in batch
            if incoming.route is not None
        ]
        await self._database.transact(handle, entries)
        await self._database.transact(
            lambda work: work.execute(move, projection=self.name, stream=self.stream, after=after)
        )
        self._cursor = after

    projection.ProjectionLoop._apply = apply  # type: ignore[method-assign]


def _no_sync(_: Jetstream) -> None:
    module: Any = sqlite
    connect = module.connect

    def careless(path: Path, *, writes: bool, lock_timeout_s: float) -> Any:
        connection = connect(path, writes=writes, lock_timeout_s=lock_timeout_s)
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    module.connect = careless
