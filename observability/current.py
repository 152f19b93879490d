"""The current span of a task, where OpenTelemetry keeps it, by a shorter way than its own."""

from __future__ import annotations

from contextvars import Token
from types import TracebackType

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext

from .spans import RecordedSpan

__all__ = ["current_span", "enter", "use"]

(_KEY,) = trace.set_span_in_context(trace.INVALID_SPAN, Context())


def current_span() -> Span:
    """Gives the current span; one that records nothing and has no valid ids if there is none."""
    span = otel_context.get_current().get(_KEY)
    return span if type(span) is RecordedSpan else trace.get_current_span()


def enter(span: Span) -> Token[Context]:
    """Makes a span the current one, for the rest of the task if nobody detaches the token."""
    return otel_context.attach(Context({**otel_context.get_current(), _KEY: span}))


class use:  # noqa: N801
    """Makes a span the current one for a block, and does not end it."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span | SpanContext) -> None:
        self._span = NonRecordingSpan(span) if isinstance(span, SpanContext) else span

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
