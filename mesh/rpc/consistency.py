"""Consistency tokens: what a command has told, for a read that must include it.

The answer to a command names the events that were told for it, those of the services it asked
included. A read that brings the names waits until this service has applied them, and says that it
is behind (`mesh.errors.Behind`) rather than give what was before. An event is named by its id,
which nobody knows who has not seen the answer: a token that was made up names nothing.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from google.protobuf.message import DecodeError

from mesh.errors import InvalidArgument
from meshapi.v1.consistency_pb2 import ConsistencyToken, ToldEvent

__all__ = ["AFTER_KEY", "MAX_TOLD", "TOKEN_KEY", "Gate", "Told", "read_token", "write_token"]

TOKEN_KEY = "consistency-token"  # noqa: S105
"""The trailing metadata of an answer in which a token travels."""

AFTER_KEY = "consistency-after"
"""The metadata of a call in which one comes back."""

MAX_TOLD = 16
"""The most events that a token names: the newest ones."""

_MAX_TEXT = 4_096
_LAST_MS = 4_102_444_800_000


class Told(NamedTuple):
    """An event that was told: the full name of its message, what it is about, its id."""

    type: str
    key: str
    event_id: str


class Gate:
    """Where reads wait for what they must include. Open until somebody says what to wait for."""

    __slots__ = ("wait",)

    def __init__(self) -> None:
        self.wait: Callable[[Iterable[Told]], Awaitable[None]] | None = None

    async def pass_through(self, token: str) -> None:
        """Waits for what a token names. Raises `Behind`, or `InvalidArgument` if it is none."""
        if self.wait is not None:
            await self.wait(read_token(token))


def write_token(told: Iterable[Told]) -> str:
    """Writes a token, of the newest events if there are too many."""
    newest = sorted(told, key=lambda each: each.event_id)[-MAX_TOLD:]
    token = ConsistencyToken(
        events=[
            ToldEvent(type=each.type, key=each.key, event_id=uuid.UUID(each.event_id).bytes)
            for each in newest
        ]
    )
    return base64.urlsafe_b64encode(token.SerializeToString()).decode().rstrip("=")


def read_token(text: str) -> list[Told]:
    """Reads a token. Raises `InvalidArgument` if it is none."""
    try:
        if len(text) > _MAX_TEXT:
            raise ValueError
        padded = text + "=" * (-len(text) % 4)
        token = ConsistencyToken.FromString(base64.b64decode(padded, b"-_", validate=True))
        return [Told(each.type, each.key, _id(each.event_id)) for each in token.events[:MAX_TOLD]]
    except (binascii.Error, DecodeError, ValueError):
        raise InvalidArgument("CONSISTENCY_TOKEN_INVALID", "This is no such token.") from None


def _id(raw: bytes) -> str:
    """Raises `ValueError` unless these are the bytes of a UUIDv7 of this century."""
    found = uuid.UUID(bytes=raw)
    if found.version != 7 or found.int >> 80 > _LAST_MS:
        raise ValueError
    return str(found)
