"""Facts, told by events: what a service declares to hear them.

An event is a message with the option `meshapi.v1.event`. It is published with `work.publish` in the
unit of work that makes it true, and reaches every projection and reaction that asks for its type,
in the order of its key, once in effect.

A projection keeps rows that can be read; a reaction does something because something happened. Both
hand their events to plain functions, `async def keep(work, event)`, which are part of a unit of
work and await nothing but it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from google.protobuf.message import Message

if TYPE_CHECKING:
    from mesh.db import UnitOfWork

__all__ = ["Event", "Handler", "Projection", "Reaction"]

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Generic[M]):
    """A fact that a service has told, as its consumers see it.

    `subject` is where it was sent, `key` what it is about, `version` that of the thing at the time
    (0: not told), `time_us` when it was told. `stream` and `sequence` are its place in the log.
    """

    id: str
    type: str
    source: str
    subject: str
    key: str
    version: int
    time_us: int
    traceparent: str
    data: M
    stream: str
    sequence: int


Handler = Callable[["UnitOfWork", Event[M]], Awaitable[None]]
"""What is done with an event, in the unit of work that also keeps that it was done."""


@dataclass(frozen=True, kw_only=True)
class Projection:
    """Rows kept from events, which could be built again from the first one.

    Events are applied in the order of their stream, many in a transaction, and the cursor moves in
    the same one. An event that cannot be applied stops the projection until it can. `name` is
    stored: never change it, except to build the rows again.
    """

    name: str
    on: Mapping[type[Message], Handler[Any]]


@dataclass(frozen=True, kw_only=True)
class Reaction:
    """What a service does because something happened elsewhere, once for each event.

    Events of one key are applied in order, those of others do not wait for them. An event that
    cannot be applied is parked after ten tries, and so are the later ones of its key. `name` is
    stored: never change it.
    """

    name: str
    on: Mapping[type[Message], Handler[Any]]
