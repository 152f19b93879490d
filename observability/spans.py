"""A span that costs little: two clocks, one dict, one append when it ends.

It is an `opentelemetry.trace.Span`, so that anything written for OpenTelemetry can use it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter_ns, time_ns

from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import AnyValue, Attributes

__all__ = ["SAMPLED", "UNSAMPLED", "Constants", "RecordedSpan", "Scope"]

SAMPLED = TraceFlags(TraceFlags.SAMPLED)
UNSAMPLED = TraceFlags(TraceFlags.DEFAULT)

_MAX_EVENTS = 32
_MAX_LINKS = 32
_UNSAFE_EVENT_ATTRIBUTES = frozenset({"exception.message", "exception.stacktrace"})

Scope = tuple[str, str]
"""Who made a span: the name and the version of the instrumentation."""


class Constants(dict[str, object]):
    """Attributes that many spans begin with, and none changes: they are encoded once.

    `encoded` is for whoever sends spans.
    """

    encoded: str | None = None


class RecordedSpan(Span):
    """A span that is recorded and handed to `sink` when it ends. Times are nanoseconds since 1970.

    A duration is measured with the monotonic clock, so that a step of the wall clock cannot make
    it negative. Exceptions are recorded by their type alone: messages may hold personal data.
    """

    # What most spans never have is not set on each of them.
    events: list[tuple[int, str, Attributes]] | None = None
    error: bool | None = None
    message = ""
    end_ns = 0
    _context: SpanContext | None = None

    def __init__(
        self,
        sink: Callable[[RecordedSpan], None],
        scope: Scope,
        name: str,
        kind: SpanKind,
        trace_id: int,
        span_id: int,
        parent_id: int,
        attributes: Mapping[str, object] | None,
        links: list[Link] | None,
        start_ns: int | None,
    ) -> None:
        self._sink = sink
        self.scope = scope
        self.name = name
        self.kind = kind
        self.trace_id = trace_id
        self.span_id = span_id
        self.parent_id = parent_id
        self.attributes: dict[str, object] = (
            attributes if type(attributes) is Constants else dict(attributes or ())
        )
        self.links = links
        if start_ns is None:
            self.start_ns = time_ns()
            self._tick = perf_counter_ns()
        else:
            self.start_ns = start_ns
            self._tick = 0

    def end(self, end_time: int | None = None) -> None:
        """Ends the span, once; it cannot be changed from then on."""
        if self.end_ns:
            return
        if end_time is not None:
            self.end_ns = end_time
        elif self._tick:
            self.end_ns = self.start_ns + perf_counter_ns() - self._tick
        else:
            self.end_ns = time_ns()
        self._sink(self)

    def get_span_context(self) -> SpanContext:
        """Gives the ids by which others refer to this span."""
        context = self._context
        if context is None:
            context = self._context = SpanContext(self.trace_id, self.span_id, False, SAMPLED)
        return context

    def is_recording(self) -> bool:
        """Tells whether the span still takes attributes."""
        return not self.end_ns

    def set_attribute(self, key: str, value: AnyValue) -> None:
        """Keeps one fact. Never personal data."""
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, AnyValue]) -> None:
        """Keeps some facts. Never personal data."""
        if self.end_ns:
            return
        if type(self.attributes) is Constants:
            self.attributes = {**self.attributes, **attributes}
        else:
            self.attributes.update(attributes)

    def update_name(self, name: str) -> None:
        """Gives the span another name."""
        if not self.end_ns:
            self.name = name

    def add_event(
        self, name: str, attributes: Attributes = None, timestamp: int | None = None
    ) -> None:
        """Keeps something that happened at a moment, without messages and stacks of exceptions."""
        if self.end_ns:
            return
        if self.events is None:
            self.events = []
        if len(self.events) < _MAX_EVENTS:
            kept = {
                key: value
                for key, value in (attributes or {}).items()
                if key not in _UNSAFE_EVENT_ATTRIBUTES
            }
            self.events.append((timestamp or time_ns(), name, kept))

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Points to a span of this trace or of another."""
        if self.end_ns or not context.is_valid:
            return
        if self.links is None:
            self.links = []
        if len(self.links) < _MAX_LINKS:
            self.links.append(Link(context, attributes))

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Says how it ended. A `Status` object's description is dropped.

        OpenTelemetry's own `use_span` puts the message of an exception there.
        """
        if self.end_ns:
            return
        code = status.status_code if isinstance(status, Status) else status
        if code is StatusCode.UNSET or self.error is False:
            return
        self.error = code is StatusCode.ERROR
        self.message = description if self.error and description else ""

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Keeps the type of an exception, and nothing else of it."""
        kind = type(exception).__qualname__
        self.add_event("exception", {**(attributes or {}), "exception.type": kind}, timestamp)
        if "error.type" not in self.attributes:
            self.set_attribute("error.type", kind)
