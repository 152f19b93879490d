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
projection                  rows kept from events; rebuild, shadow, backfill: built anew
reaction, inbox, answers    what is done because of events, once
lanes, limits, filters      in order by key, so much at once, and only what is wanted
freshness                   whether rows include what a reader has seen happen
deadletters                 events that could not be applied
schedule                    events that are told later
history, reconcile          a stream that has lost what it had
control, api                what an operator may see and change
loops, lease                all of it, in one process of a service
webhooks/                   events posted to places outside
jetstream, client           NATS
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from google.protobuf.message import Message

from mesh.errors import Refused, Transient

if TYPE_CHECKING:
    from mesh.db import UnitOfWork

__all__ = [
    "Again",
    "BatchHandler",
    "Dead",
    "Event",
    "Failure",
    "FailureHandler",
    "Handler",
    "Projection",
    "Reaction",
]

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Generic[M]):
    """A fact that a service has told, as its consumers see it.

    `subject` is where it was sent, `key` what it is about, `version` that of the thing at the time
    (0: not told), `time_us` when it was told. `stream` and `sequence` are its place in the log.
    `attributes` were told beside it, for whoever filters (CloudEvents extensions).
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
    attributes: Mapping[str, str] = field(default_factory=dict)


class Again(Transient):
    """An answer of a handler: not yet; the event comes again after `retry_after_s` seconds."""

    def __init__(self, retry_after_s: float, message: str = "It is tried again.") -> None:
        super().__init__("AGAIN", message)
        self.retry_after_s = retry_after_s


class Dead(Refused):
    """An answer of a handler: never; the event is parked at once, without another try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An event that a reaction has given up. `event` is None if it could not be decoded.

    `error` says why, with nothing personal; `attempts` counts the tries, 0 for an event that stands
    behind another of its key.
    """

    consumer: str
    event_id: str
    type: str
    key: str
    error: str
    attempts: int
    event: Event[Any] | None


Handler = Callable[["UnitOfWork", Event[M]], Awaitable[None]]
"""What is done with an event, in the unit of work that also keeps that it was done."""

BatchHandler = Callable[
    ["UnitOfWork", Sequence[Event[Any]]], Awaitable["Mapping[str, Again | Dead] | None"]
]
"""What is done with several events at once, in one unit of work.

It answers for those that are not done, by their ids; once it has, it answers for no later event of
the same key that it is done. An answer that does not hold that fails as a whole, as does a handler
that raises: nothing of it is kept, and each event is tried alone.
"""

FailureHandler = Callable[["UnitOfWork", Failure], Awaitable[None]]
"""What is done because an event was given up, in the unit of work that parks it.

To publish an event of the service's own is to send it on to whoever listens.
"""


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

    `on` has a handler for each type of event; instead, `on_batch` takes events of all `types`
    together. `concurrency` is how many transactions run at once, 0 for none until an operator
    resumes it; `batch` how many events one of them applies at most, and `window_s` how long it
    waits to be full. A handler that takes longer than `timeout_s` has failed; 0 means no limit.
    `where` lets only some events through (`mesh.events.filters`).

    The server sends an event again that is not acked within `ack_wait_s`, for as long as this
    process does not tell that it works on it. An event that is older than `max_age_s` is given up,
    and holds nothing up; 0 means none is. `on_failure` is told of what is given up.

    Raises `ValueError` for what makes no sense; a malformed `where` is refused at the start.
    """

    name: str
    on: Mapping[type[Message], Handler[Any]] = field(default_factory=dict)
    types: Sequence[type[Message]] = ()
    on_batch: BatchHandler | None = None
    concurrency: int = 4
    batch: int = 64
    window_s: float = 0.0
    timeout_s: float = 0.0
    where: Mapping[str, Any] | None = None
    ack_wait_s: float = 30.0
    max_age_s: float = 0.0
    on_failure: FailureHandler | None = None

    def __post_init__(self) -> None:
        if (self.on_batch is None) == bool(self.types) or (self.on and self.types):
            raise ValueError(f"reaction {self.name}: either handlers, or types and one for all")
        if self.on_batch is not None:
            object.__setattr__(self, "on", dict.fromkeys(self.types, _alone(self.on_batch)))
        if not 0 <= self.concurrency <= 256 or not 1 <= self.batch <= 256:
            raise ValueError(f"reaction {self.name}: concurrency is 0 to 256, batch 1 to 256")
        if not 0 <= self.window_s <= 300 or self.timeout_s < 0:
            raise ValueError(f"reaction {self.name}: a window is 0 to 300 s, a timeout positive")
        if not 0.1 <= self.ack_wait_s <= 43_200 or self.max_age_s < 0:
            raise ValueError(f"reaction {self.name}: an ack wait is 0.1 s to 12 h, an age positive")


def _alone(handle: BatchHandler) -> Handler[Any]:
    """Gives a handler of batches one event."""

    async def apply(work: UnitOfWork, event: Event[Any]) -> None:
        answers = await handle(work, (event,))
        if answers and event.id in answers:
            raise answers[event.id]

    return apply
