"""From a message of NATS to the handler of its event."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import unquote

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind

from mesh.clock import now_us
from mesh.errors import Error
from observability import semconv, tracing

from . import Event, Handler
from .envelope import SCHEDULED, EventType, describe, open
from .filters import Filter, compile_filter
from .jetstream import ApiError, Connection, Delivery
from .pull import Place, place_of

__all__ = [
    "Incoming",
    "Route",
    "describe_error",
    "parking",
    "routes_by_stream",
    "span_of",
    "wait_for_stream",
]

_STREAM_POLL_S: Final = 0.25
_LIVE_US: Final = 10 * 60 * 1_000_000


@dataclass(frozen=True, slots=True)
class Route:
    """A type of event, and what is done with it."""

    kind: EventType
    message: type[Message]
    handle: Handler[Any]
    wants: Filter | None = None


def routes_by_stream(
    on: Mapping[type[Message], Handler[Any]], where: Mapping[str, Any] | None = None
) -> dict[str, dict[str, Route]]:
    """Groups handlers by the stream of their event, then by its type.

    Raises `TypeError` for a message that is not an event, `MalformedFilter` for a filter that
    makes no sense for one of them.
    """
    routes: dict[str, dict[str, Route]] = {}
    for message, handle in on.items():
        kind = describe(message.DESCRIPTOR)
        contract = cast(Descriptor, message.DESCRIPTOR)
        wants = None if where is None else compile_filter(where, contract)
        routes.setdefault(kind.stream, {})[kind.name] = Route(kind, message, handle, wants)
    return routes


class Incoming:
    """A message that came, before it is decoded. `route` is None if nobody asked for its type.

    `attempts` is how often this process has begun to process it.
    """

    __slots__ = ("_event", "attempts", "key", "message", "place", "route", "stream")

    def __init__(self, message: Delivery, stream: str, routes: Mapping[str, Route]) -> None:
        headers = message.headers or {}
        self.message = message
        self.stream = stream
        self.place: Place = place_of(message)
        self.route = routes.get(headers.get("ce-type", ""))
        self.key = unquote(headers.get("ce-subject") or message.subject.rpartition(".")[2])
        self._event: Event[Any] | None = None
        self.attempts = 0

    @property
    def id(self) -> str:
        """The event's id; its place stands in for one that is not there."""
        headers = self.message.headers or {}
        return headers.get("ce-id") or f"{self.stream}:{self.place.sequence}"

    def open(self) -> Event[Any]:
        """Decodes the event, once. Raises `Undecodable`."""
        if self._event is None:
            assert self.route is not None
            self._event = open(
                self.route.message,
                self.message.headers or {},
                self.message.data,
                subject=self.message.subject,
                stream=self.stream,
                sequence=self.place.sequence,
            )
        return self._event


def span_of(incoming: Incoming, event: Event[Any], consumer: str) -> Span:
    """Starts the span in which an event is processed: a child of its sender's, with a link to it.

    An event that is older than ten minutes is replayed: its span begins a trace of its own, and so
    does that of an event that was told ahead of its time.
    """
    sender = tracing.parse(event.traceparent)
    if sender is not None and not sender.trace_flags.sampled:
        return INVALID_SPAN
    incoming.attempts += 1
    assert incoming.route is not None
    kind, place = incoming.route.kind, incoming.place
    attributes: dict[str, str | int | bool] = {
        semconv.MESSAGING_SYSTEM: "nats",
        semconv.MESSAGING_OPERATION_TYPE: "process",
        semconv.MESSAGING_OPERATION_NAME: "process",
        semconv.MESSAGING_DESTINATION_NAME: event.subject,
        semconv.MESSAGING_DESTINATION_TEMPLATE: kind.template,
        semconv.MESSAGING_CONSUMER_GROUP_NAME: consumer,
        semconv.MESSAGING_MESSAGE_ID: event.id,
        semconv.MESSAGING_NATS_STREAM: event.stream,
        semconv.MESSAGING_NATS_SEQUENCE: place.sequence,
        semconv.MESSAGING_NATS_DELIVERY_COUNT: place.deliveries,
        semconv.MESSAGING_ATTEMPT: incoming.attempts,
    }
    is_live = now_us() - event.time_us < _LIVE_US
    if not is_live:
        attributes[semconv.REPLAY] = True
    if SCHEDULED in (incoming.message.headers or ()):
        is_live = False
    return tracing.start_span(
        f"process {kind.template}",
        SpanKind.CONSUMER,
        attributes,
        parent=sender if is_live else None,
        links=() if sender is None else (sender,),
    )


def parking(incoming: Incoming, consumer: str, why: str, tries: int) -> tracing.span:
    """Makes the span in which an event is given up, beside those of its tries."""
    sender = tracing.parse((incoming.message.headers or {}).get("traceparent"))
    name = incoming.route.kind.template if incoming.route is not None else incoming.stream
    return tracing.span(
        f"park {name}",
        SpanKind.INTERNAL,
        {
            semconv.MESSAGING_CONSUMER_GROUP_NAME: consumer,
            semconv.MESSAGING_MESSAGE_ID: incoming.id,
            semconv.MESSAGING_ATTEMPT: tries,
            semconv.ERROR_TYPE: why.partition(":")[0],
        },
        parent=sender,
        links=() if sender is None else (sender,),
    )


def describe_error(error: Exception) -> str:
    """Says what went wrong, with nothing personal: messages of bugs may hold anything."""
    if isinstance(error, Error):
        return f"{error.reason}: {error.message}"
    return type(error).__qualname__


async def wait_for_stream(connection: Connection, stream: str) -> dict[str, Any]:
    """Waits until a stream exists, which its publisher makes, and gives its state."""
    while True:
        try:
            state: dict[str, Any] = (await connection.api(f"STREAM.INFO.{stream}"))["state"]
            return state
        except ApiError as error:
            if error.code != ApiError.STREAM_NOT_FOUND:
                raise
        await asyncio.sleep(_STREAM_POLL_S)
