"""What is told of a unit of work: how long it took, and a span (semconv, database client spans) if
its caller is traced.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from mesh.errors import Error, Refused
from observability import metrics, semconv, tracing
from observability.instruments import HistogramCell
from observability.tracing import Span, SpanKind

from .statement import Statement
from .unit import UnitOfWork

__all__ = ["UnitSpans"]

_LONGEST = 255
# A group of orders does what its orders need: of that there are many kinds.
_MOST = 100


class UnitSpans:
    """Makes the spans of one database. `namespace` is its name."""

    def __init__(self, system: str, namespace: str) -> None:
        self._system = system
        self._durations: dict[tuple[str, str], HistogramCell] = {}
        self._attributes = {semconv.DB_SYSTEM_NAME: system, semconv.DB_NAMESPACE: namespace}

    def begin(self) -> Span | None:
        """Starts a span, if the current one is recorded. It does not become the current one."""
        if not tracing.current_span().is_recording():
            return None
        return tracing.start_span("unit of work", SpanKind.CLIENT, self._attributes)

    def count(self, seconds: float, work: UnitOfWork | None, error: BaseException | None) -> None:
        """Counts a unit that took so long for its caller: with its wait, and its commit."""
        summary = _summary(tuple(work.statements)) if work is not None else ""
        kind = (summary, "" if error is None else _type(error))
        cell = self._durations.get(kind)
        if cell is None:
            if len(self._durations) >= _MOST:
                kind = ("_OTHER", kind[1])
            cell = metrics.DB_CLIENT_OPERATION_DURATION.bind(self._system, *kind)
            self._durations[kind] = cell
        cell.record(seconds)

    def end(self, span: Span, work: UnitOfWork | None, error: BaseException | None) -> None:
        """Ends a span. It is named for what the unit did; a refusal is not a failure."""
        if work is not None and work.statements:
            summary = _summary(tuple(work.statements))
            span.update_name(summary)
            span.set_attribute(semconv.DB_QUERY_SUMMARY, summary)
            if len(work.statements) > 1:
                span.set_attribute(semconv.DB_OPERATION_BATCH_SIZE, len(work.statements))
        if error is not None and not isinstance(error, Refused):
            tracing.fail(span, _type(error))
        span.end()


def _type(error: BaseException) -> str:
    return error.reason if isinstance(error, Error) else type(error).__qualname__


@lru_cache(maxsize=1024)
def _summary(statements: Sequence[Statement]) -> str:
    """The summaries of the statements, each once, in order: no more than the semconv allows."""
    return " ".join(dict.fromkeys(statement.summary for statement in statements))[:_LONGEST]
