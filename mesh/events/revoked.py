"""Hears which sessions the issuer of tokens has ended.

Nothing is kept of it: an ephemeral consumer begins as far back as a token can live, at every start
and after every loss of the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.message import DecodeError

from mesh.auth.revocations import KEPT_S, Revocations
from mesh.errors import Transient
from mesh.ids import new_id
from meshapi.v1.tokens_pb2 import EndedSessions
from observability import logs

from .backoff import Backoff
from .jetstream import ApiError, Connection, Jetstream
from .pull import Pull, place_of
from .routes import wait_for_stream

__all__ = ["RevocationLoop"]

_BATCH: Final = 200
_BUFFER: Final = 1_000
_INACTIVE_NS: Final = 60 * 1_000_000_000

log = logs.get_logger(__name__)


class RevocationLoop:
    """Fills a list of ended sessions from the events of one type, for as long as it runs.

    `event` is the event's full name, such as `bank.users.v1.SessionsRevoked`. Its stream is named
    after its service, and its fields are those of `meshapi.v1.EndedSessions`.
    """

    def __init__(
        self, jetstream: Jetstream, revocations: Revocations, *, service: str, event: str
    ) -> None:
        self._jetstream = jetstream
        self._revocations = revocations
        self._service = service
        self._subjects = f"{event}.*"
        self._stream = event.split(".")[1].upper()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to listen, in the background."""
        self._task = asyncio.create_task(self._run(), name="revocations")

    async def stop(self) -> None:
        """Ends listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        backoff = Backoff(first_s=0.05, cap_s=2.0)
        while True:
            started_at = time.monotonic()
            try:
                await self._read()
            except (Transient, ApiError) as error:
                if time.monotonic() - started_at > 10:
                    backoff.reset()
                log.info("the list of ended sessions is read anew: %s", error)
                await asyncio.sleep(backoff.next())

    async def _read(self) -> None:
        """Reads until something goes wrong."""
        connection = await self._jetstream.connection()
        await wait_for_stream(connection, self._stream)
        consumer = await self._create_consumer(connection)
        expected = 1
        async with Pull(connection, self._stream, consumer, buffer=_BUFFER) as pull:
            while True:
                for message in await pull.take(_BATCH):
                    if place_of(message).delivery != expected:
                        raise Transient("DELIVERY_LOST", "A delivery of the stream was lost.")
                    expected += 1
                    self._hear(message.data)

    def _hear(self, payload: bytes) -> None:
        try:
            self._revocations.add(EndedSessions.FromString(payload).session_ids)
        except DecodeError:
            log.error("an event that ends sessions cannot be read")

    async def _create_consumer(self, connection: Connection) -> str:
        name = f"{self._service}-revocations-{new_id()}"
        begin = datetime.now(UTC) - timedelta(seconds=KEPT_S)
        config = {
            "name": name,
            "ack_policy": "none",
            "deliver_policy": "by_start_time",
            "opt_start_time": begin.isoformat().replace("+00:00", "Z"),
            "filter_subjects": [self._subjects],
            "inactive_threshold": _INACTIVE_NS,
            "mem_storage": True,
            "num_replicas": 1,
        }
        body = {"stream_name": self._stream, "config": config, "action": "create"}
        await connection.api(f"CONSUMER.CREATE.{self._stream}.{name}", body)
        return name
