"""Facts, told by events: what a service declares to hear them.

An event is a message with the option `meshapi.v1.event`. It is published with `work.publish` in the
unit of work that makes it true, and reaches every projection and reaction that asks for its type,
in the order of its key, once in effect.

A projection keeps rows that can be read; a reaction does something because something happened. Both
hand their events to plain functions, `async def keep(work, event)`, which are part of a unit of
work and await nothing but it.

General layout:

envelope, stream, relay     how events are told
routes, pull                from a message to its handler
projection                  rows kept from events; rebuild, shadow: built anew beside those in use
reaction, lanes, filters    what is done because of events, in order by key
deadletters                 events that could not be applied
schedule                    events that are told later
history, reconcile          a stream that has lost what it had
control, api                what an operator may see and change
loops, lease                all of it, in one process of a service
jetstream, client           NATS
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
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

    `tables` are those that its handlers write, and they read no others: with them the rows can be
    built anew beside those in use (`mesh.events.rebuild`).
    """

    name: str
    on: Mapping[type[Message], Handler[Any]]
    tables: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Reaction:
    """What a service does because something happened elsewhere, once for each event.

    Events of one key are applied in order, those of others do not wait for them. An event that
    cannot be applied is parked after ten tries, and so are the later ones of its key. `name` is
    stored: never change it.

    `concurrency` is how many transactions run at once, 0 for none until an operator resumes it;
    `batch` how many events one of them applies at most, and `window_s` how long it waits to be
    full. A handler that takes longer than `timeout_s` has failed; 0 means no limit. `where` lets
    only some events through (`mesh.events.filters`).

    Raises `ValueError` for what makes no sense; a malformed `where` is refused at the start.
    """

    name: str
    on: Mapping[type[Message], Handler[Any]]
    concurrency: int = 4
    batch: int = 64
    window_s: float = 0.0
    timeout_s: float = 0.0
    where: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.concurrency <= 256 or not 1 <= self.batch <= 256:
            raise ValueError(f"reaction {self.name}: concurrency is 0 to 256, batch 1 to 256")
        if not 0 <= self.window_s <= 300 or self.timeout_s < 0:
            raise ValueError(f"reaction {self.name}: a window is 0 to 300 s, a timeout positive")
