"""Traces: spans, the current span, and what crosses a process border (W3C Trace Context).

The context is OpenTelemetry's, and `configure` installs a tracer provider: code written for the
OpenTelemetry API joins the same traces. Sampling is decided at the root and inherited.
"""

from __future__ import annotations

import asyncio
import atexit
import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import getrandbits
from types import TracebackType
from typing import Final, Literal, TypeAlias

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
)

from . import semconv
from . import traceparent as w3c
from .current import current_span, enter, use
from .exporter import Exporter, Figures
from .provider import Provider
from .sampling import RemoteSampler, Sampler, Strategy
from .spans import SAMPLED, UNSAMPLED, Constants, RecordedSpan, Scope

__all__ = [
    "CURRENT",
    "Constants",
    "Figures",
    "Link",
    "Parent",
    "Span",
    "SpanContext",
    "SpanKind",
    "StatusCode",
    "allocate",
    "configure",
    "continue_trace",
    "current_span",
    "enter",
    "fail",
    "figures",
    "flush",
    "format_traceparent",
    "parse",
    "record",
    "shutdown",
    "shutdown_async",
    "span",
    "start_span",
    "traceparent",
    "use",
]


class _Current(enum.Enum):
    CURRENT = "current"


CURRENT: Final = _Current.CURRENT
Parent: TypeAlias = Span | SpanContext | Literal[_Current.CURRENT] | None

_SCOPE: Final[Scope] = ("mesh", "")


def _discard(span: RecordedSpan) -> None:
    """Takes a span that nobody wants to see."""


@dataclass(frozen=True)
class _Pipeline:
    """Where spans go, and who decides which of the new traces are recorded."""

    exporter: Exporter | None
    offer: Callable[[RecordedSpan], None]
    sampler: Sampler
    remote: RemoteSampler | None


_OFF: Final = _Pipeline(None, _discard, Sampler(Strategy(0)), None)
_pipeline = _OFF


def configure(
    *,
    service: str,
    version: str = "",
    instance: str = "",
    otlp_url: str | None,
    sample_ratio: float = 1.0,
    sampling_url: str | None = None,
    namespace: str = "bank",
    environment: str = "",
    capacity: int = 8_192,
) -> None:
    """Starts to record spans and to send them to the collector at `otlp_url`; None: records none.

    `sample_ratio` is the part of new traces that is recorded, until the Jaeger at `sampling_url`
    has told its strategy for the service. `capacity` is the number of spans that may wait. What an
    earlier call started is shut down first.
    """
    global _pipeline
    if not 0 <= sample_ratio <= 1:
        raise ValueError(f"a ratio is between 0 and 1, not {sample_ratio}")
    shutdown()
    if trace.get_tracer_provider() is not _PROVIDER:
        trace.set_tracer_provider(_PROVIDER)
    if otlp_url is None:
        return
    resource = {
        semconv.SERVICE_NAME: service,
        semconv.SERVICE_NAMESPACE: namespace,
        semconv.SERVICE_VERSION: version,
        semconv.SERVICE_INSTANCE_ID: instance,
        semconv.DEPLOYMENT_ENVIRONMENT_NAME: environment,
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "mesh",
    }
    exporter = Exporter(otlp_url, resource, capacity=capacity)
    exporter.start()
    sampler = Sampler(Strategy(sample_ratio))
    remote = RemoteSampler(sampling_url, service, sampler) if sampling_url else None
    if remote is not None:
        remote.start()
    _pipeline = _Pipeline(exporter, exporter.offer, sampler, remote)


def shutdown(timeout_s: float = 1.0) -> None:
    """Sends what waits, for at most `timeout_s`, and stops recording."""
    global _pipeline
    stopped, _pipeline = _pipeline, _OFF
    if stopped.remote is not None:
        stopped.remote.stop()
    if stopped.exporter is not None:
        stopped.exporter.stop(timeout_s)


async def shutdown_async(timeout_s: float = 1.0) -> None:
    """Does what `shutdown` does, without blocking the event loop."""
    await asyncio.to_thread(shutdown, timeout_s)


def flush(timeout_s: float = 1.0) -> bool:
    """Waits until the spans that have ended are sent; tells whether they are. Blocks."""
    exporter = _pipeline.exporter
    return exporter is None or exporter.flush(timeout_s)


def figures() -> Figures:
    """Counts the spans that were sent, were dropped, and wait."""
    exporter = _pipeline.exporter
    return Figures(0, 0, 0) if exporter is None else exporter.figures()


def start_span(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, object] | None = None,
    parent: Parent = CURRENT,
    links: Sequence[SpanContext | Link] = (),
    *,
    start_ns: int | None = None,
) -> Span:
    """Starts a span, which the caller ends with `end()`. It does not become the current one.

    With `parent=None` it begins a new trace. The span does not record if its trace is not sampled.
    """
    return _start(_SCOPE, name, kind, attributes, parent, links, start_ns)


def continue_trace(
    name: str, kind: SpanKind, attributes: Mapping[str, object] | None, traceparent: str | None
) -> Span:
    """Starts a span of the trace that a `traceparent` header names; of a new one if it names none.

    It is `start_span` with `parse`, for what is done for every call.
    """
    ids = w3c.read(traceparent)
    if ids is None:
        return _start(_SCOPE, name, kind, attributes, None, (), None)
    trace_id, parent_id, flags = ids
    sampled = flags & TraceFlags.SAMPLED != 0
    return _begin(_SCOPE, name, kind, attributes, trace_id, parent_id, sampled, (), None)


def allocate(parent: Parent = CURRENT) -> SpanContext:
    """Makes the ids of a span that is recorded later, with `record`."""
    trace_id, parent_id, sampled = _resolve(parent, "")
    if not sampled and parent_id:
        return SpanContext(trace_id, parent_id, False, UNSAMPLED)
    return SpanContext(trace_id, getrandbits(64) or 1, False, SAMPLED if sampled else UNSAMPLED)


def record(
    name: str,
    kind: SpanKind,
    context: SpanContext,
    parent: SpanContext | None,
    start_ns: int,
    end_ns: int,
    attributes: Mapping[str, object] | None = None,
    links: Sequence[SpanContext | Link] = (),
    *,
    error_type: str = "",
    message: str = "",
) -> None:
    """Records a finished span under ids that were made by `allocate`, in nanoseconds since 1970.

    It does nothing if the context is not sampled. `error_type` marks the span as failed.
    """
    if not context.is_valid or not context.trace_flags & TraceFlags.SAMPLED:
        return
    parent_id = parent.span_id if parent is not None and parent.is_valid else 0
    finished = RecordedSpan(
        _pipeline.offer,
        _SCOPE,
        name,
        kind,
        context.trace_id,
        context.span_id,
        parent_id,
        attributes,
        _links(links),
        start_ns,
    )
    if error_type:
        fail(finished, error_type, message)
    finished.end(end_ns)


def fail(span: Span, error_type: str, message: str = "") -> None:
    """Marks a span as failed. `message` is one of our own, for people; it holds nothing personal.

    `error_type` is of low cardinality: a reason, a status code, the name of an exception's class.
    """
    if span.is_recording():
        span.set_attribute(semconv.ERROR_TYPE, error_type)
        span.set_status(StatusCode.ERROR, message)


class span:  # noqa: N801
    """A span around a block of code, and the current one in it.

    If an exception leaves the block, the span is marked as failed with the exception's type;
    its message is not recorded. Say more with `fail` where the error is known.
    """

    __slots__ = ("_span", "_token")

    def __init__(
        self,
        name: str,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, object] | None = None,
        parent: Parent = CURRENT,
        links: Sequence[SpanContext | Link] = (),
    ) -> None:
        self._span = _start(_SCOPE, name, kind, attributes, parent, links, None)

    def __enter__(self) -> Span:
        self._token = enter(self._span)
        return self._span

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        otel_context.detach(self._token)
        if kind is not None and issubclass(kind, (Exception, asyncio.CancelledError)):
            _mark(self._span, kind)
        self._span.end()


def traceparent() -> str | None:
    """Gives the `traceparent` header of the current span (W3C Trace Context); None without one."""
    current = current_span()
    if type(current) is RecordedSpan:
        return w3c.write(current.trace_id, current.span_id, TraceFlags.SAMPLED)
    return format_traceparent(current.get_span_context())


def format_traceparent(context: SpanContext) -> str | None:
    """Writes ids as a `traceparent` header; None if they are not valid."""
    if not context.is_valid:
        return None
    sampled = context.trace_flags & TraceFlags.SAMPLED
    return w3c.write(context.trace_id, context.span_id, sampled)


def parse(traceparent: str | None) -> SpanContext | None:
    """Reads a `traceparent` header (W3C Trace Context 1). None if there is none or it is invalid.

    Whether a stranger's trace is recorded is not the stranger's decision: theirs is for a link.
    """
    ids = w3c.read(traceparent)
    if ids is None:
        return None
    trace_id, span_id, flags = ids
    sampled = flags & TraceFlags.SAMPLED
    return SpanContext(trace_id, span_id, True, SAMPLED if sampled else UNSAMPLED)


def _resolve(parent: Parent, name: str) -> tuple[int, int, bool]:
    """Gives the trace, the parent's id (0: none) and whether the trace is recorded."""
    if parent is CURRENT:
        parent = current_span()
    if type(parent) is RecordedSpan:
        return parent.trace_id, parent.span_id, True
    context = parent.get_span_context() if isinstance(parent, Span) else parent
    if context is not None and context.is_valid:
        return context.trace_id, context.span_id, bool(context.trace_flags & TraceFlags.SAMPLED)
    trace_id = getrandbits(128) or 1
    return trace_id, 0, _pipeline.sampler.decide(trace_id, name)


def _start(
    scope: Scope,
    name: str,
    kind: SpanKind,
    attributes: Mapping[str, object] | None,
    parent: Parent,
    links: Sequence[SpanContext | Link],
    start_ns: int | None,
) -> Span:
    return _begin(scope, name, kind, attributes, *_resolve(parent, name), links, start_ns)


def _begin(
    scope: Scope,
    name: str,
    kind: SpanKind,
    attributes: Mapping[str, object] | None,
    trace_id: int,
    parent_id: int,
    sampled: bool,
    links: Sequence[SpanContext | Link],
    start_ns: int | None,
) -> Span:
    pipeline = _pipeline
    if sampled and pipeline.exporter is not None:
        return RecordedSpan(
            pipeline.offer,
            scope,
            name,
            kind,
            trace_id,
            getrandbits(64) or 1,
            parent_id,
            attributes,
            _links(links) if links else None,
            start_ns,
        )
    flags = SAMPLED if sampled else UNSAMPLED
    return NonRecordingSpan(SpanContext(trace_id, parent_id or getrandbits(64) or 1, False, flags))


def _links(links: Sequence[SpanContext | Link]) -> list[Link] | None:
    made = [link if isinstance(link, Link) else Link(link) for link in links]
    return [link for link in made if link.context.is_valid] or None


def _mark(span: Span, kind: type[BaseException]) -> None:
    if span.is_recording() and getattr(span, "error", None) is None:
        fail(span, kind.__qualname__)


_PROVIDER: Final = Provider(_start)


atexit.register(shutdown)
