"""Reading a stream: a consumer at the server, and a bounded buffer here that it keeps filled.

The server is asked for more as soon as half of the buffer is used up, so that it never waits for us
nor we for it, and memory is bounded by the buffer. Idle heartbeats tell a quiet stream from a dead
one.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

from mesh.errors import Transient

from .jetstream import Connection, Delivery

__all__ = ["Place", "Pull", "place_of"]

_SECOND: Final = 1_000_000_000
_EXPIRES_S: Final = 60
_HEARTBEAT_S: Final = 5
_SILENCE_S: Final = 2.5 * _HEARTBEAT_S

_HEARTBEAT: Final = "100"
_ENDED_REQUEST: Final = frozenset({"404", "408"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message is in its stream, and in its consumer's deliveries.

    `delivery` numbers what the consumer was sent, `deliveries` counts how often this message was,
    `pending` how many wait behind it.
    """

    sequence: int
    delivery: int
    deliveries: int
    pending: int


def place_of(message: Delivery) -> Place:
    """Reads the place of a message from its reply subject (ADR-15).

    `$JS.ACK.<stream>.<consumer>.<deliveries>.<sequence>.<delivery>.<time>.<pending>`, with a domain
    and an account in front where there are any.
    """
    tokens = message.reply.split(".")
    first = 4 if len(tokens) < 11 else 6
    deliveries, sequence, delivery, _, pending = map(int, tokens[first : first + 5])
    return Place(sequence, delivery, deliveries, pending)


class Pull:
    """Messages of a consumer, as they come. Used as an async context manager, by one reader."""

    def __init__(self, connection: Connection, stream: str, consumer: str, *, buffer: int) -> None:
        self._connection = connection
        self._call = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._buffer = buffer
        self._wanted = 0
        self._messages: deque[Delivery] = deque()
        self._news = asyncio.Event()
        self._failure = ""
        self._inbox = connection.new_inbox()
        self._subscription: Any = None
        self._loss: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Pull:
        # One more token than answers to requests have, so that they do not overlap.
        self._inbox = f"{self._inbox}.pull"
        self._subscription = await self._connection.subscribe(self._inbox, self._take)
        self._loss = asyncio.create_task(self._wait_for_loss())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._loss is not None
        self._loss.cancel()
        await asyncio.gather(self._loss, return_exceptions=True)
        await self._connection.unsubscribe(self._subscription)

    async def take(self, most: int) -> list[Delivery]:
        """Gives what has come, at least one message and at most `most`; waits for the first.

        Raises `Transient` if the connection or the consumer is gone: start over with new ones.
        """
        while not self._messages:
            if self._failure:
                raise Transient("NATS_UNAVAILABLE", self._failure)
            await self._ask()
            self._news.clear()
            try:
                async with asyncio.timeout(_SILENCE_S):
                    await self._news.wait()
            except TimeoutError:
                self._failure = "the consumer is silent"
        if len(self._messages) <= most:
            taken = list(self._messages)
            self._messages.clear()
        else:
            taken = [self._messages.popleft() for _ in range(most)]
        await self._ask()
        return taken

    async def _ask(self) -> None:
        """Asks for as many messages as there is room for, once half of the room is free."""
        room = self._buffer - self._wanted - len(self._messages)
        if self._failure or room * 2 < self._buffer:
            return
        self._wanted += room
        request = {
            "batch": room,
            "expires": _EXPIRES_S * _SECOND,
            "idle_heartbeat": _HEARTBEAT_S * _SECOND,
        }
        await self._connection.send(self._call, json.dumps(request).encode(), reply=self._inbox)

    def _take(self, message: Delivery) -> None:
        headers = message.headers
        status = headers.get("Status") if headers else None
        if status is None or message.data:
            self._wanted -= 1
            self._messages.append(message)
        elif status in _ENDED_REQUEST:
            assert headers is not None
            self._wanted -= int(headers.get("Nats-Pending-Messages", self._wanted))
        elif status != _HEARTBEAT:
            assert headers is not None
            self._fail(headers.get("Description", status))
            return
        self._news.set()

    def _fail(self, failure: str) -> None:
        self._failure = self._failure or failure
        self._news.set()

    async def _wait_for_loss(self) -> None:
        await self._connection.lost.wait()
        self._fail("the connection to NATS was lost")
