"""The tracer provider through which code written for the OpenTelemetry API joins our traces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind
from opentelemetry.util._decorator import _agnosticcontextmanager
from opentelemetry.util.types import Attributes

from .spans import Scope

__all__ = ["Provider"]


class _Start(Protocol):
    """Starts a span."""

    def __call__(
        self,
        scope: Scope,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, object] | None,
        parent: Span | None,
        links: Sequence[SpanContext | Link],
        start_ns: int | None,
    ) -> Span: ...


class Provider(trace.TracerProvider):
    """Hands out tracers; one for the life of the process, whatever is configured meanwhile."""

    def __init__(self, start: _Start) -> None:
        self._start = start

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> trace.Tracer:
        """Gives a tracer whose spans carry the library's name and version."""
        scope = (instrumenting_module_name, instrumenting_library_version or "")
        return _Tracer(self._start, scope)


class _Tracer(trace.Tracer):
    def __init__(self, start: _Start, scope: Scope) -> None:
        self._start = start
        self._scope = scope

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Span:
        parent = trace.get_current_span(context)
        return self._start(self._scope, name, kind, attributes, parent, links or (), start_time)

    @_agnosticcontextmanager
    def start_as_current_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> Iterator[Span]:
        started = self.start_span(name, context, kind, attributes, links, start_time)
        with trace.use_span(started, end_on_exit, record_exception, set_status_on_exception):
            yield started
