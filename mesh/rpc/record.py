"""What is told of a call: a span, a duration and, on the server, a line in the log.

Names and values are those of the RPC semantic conventions 1.45. All that is the same for every
call of a method is made once.
"""

from __future__ import annotations

import asyncio
from time import perf_counter, time
from typing import NamedTuple

import grpc
from opentelemetry.trace import SpanKind, StatusCode

from mesh.errors import Error, Overloaded
from mesh.rpc.context import Caller
from mesh.rpc.status import code_of
from observability import logs, metrics, semconv, tracing
from observability.instruments import HistogramCell
from observability.spans import RecordedSpan

__all__ = ["ClientRecord", "ServerRecord"]

OK = grpc.StatusCode.OK.name
_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED.name

# What a server marks as its own failure; the rest is an answer.
FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE"})

# Why a workload is refused for who it is.
_STRANGERS = frozenset({"CALLER_NOT_ALLOWED", "NO_WORKLOAD", "PEER_UNKNOWN"})

# A method's calls are of few kinds; a stranger's names must not fill the memory.
_KINDS = 256
_DIGITS = 4

log = logs.get_logger("mesh.rpc")


class _Kind(NamedTuple):
    """What calls that ended alike have in common: their line in the log, and their durations."""

    line: logs.Recurring
    durations: HistogramCell


class ServerRecord:
    """Records the calls of one method that this process answers."""

    __slots__ = ("_kinds", "attributes", "name")

    def __init__(self, path: str) -> None:
        self.name = path.removeprefix("/")
        self.attributes = tracing.Constants(
            {
                semconv.RPC_SYSTEM_NAME: "grpc",
                semconv.RPC_METHOD: self.name,
                semconv.RPC_STATUS_CODE: OK,
            }
        )
        self._kinds: dict[tuple[str, str, str], _Kind] = {}

    def begin(self, traceparent: str | None) -> tracing.Span:
        """Begins a call, as a child of the caller's span."""
        return tracing.continue_trace(self.name, SpanKind.SERVER, self.attributes, traceparent)

    def turn_away(self) -> None:
        """Counts a call that was refused before anything of it was looked at."""
        metrics.RPC_SERVER_CALL_DURATION.record(0.0, self.name, _EXHAUSTED, "")
        metrics.ADMISSION_REFUSED.add(1, self.name, "OVERLOADED")

    def repeated(self, span: tracing.Span, attempts: str, caller: Caller | None) -> None:
        """Counts a call that its client has asked before; `attempts` is what it says of that."""
        metrics.RPC_SERVER_REPEATS.add(1, self.name, caller.workload if caller else "")
        if attempts.isdecimal() and len(attempts) < _DIGITS:
            span.set_attribute(semconv.MESH_PREVIOUS_ATTEMPTS, int(attempts))

    def end(
        self,
        span: tracing.Span,
        began: float,
        failure: BaseException | None,
        caller: Caller | None,
    ) -> None:
        """Ends a call. `began` is of `time.perf_counter`."""
        seconds = perf_counter() - began
        code, reason = OK, ""
        if failure is not None:
            code, reason = _code_name(failure), _reason(failure)
            span.set_attribute(semconv.RPC_STATUS_CODE, code)
            span.set_attribute(semconv.ERROR_TYPE, reason)
            if isinstance(failure, Overloaded):
                metrics.ADMISSION_REFUSED.add(1, self.name, reason)
            elif reason in _STRANGERS:
                metrics.PEERS_REFUSED.add(1, reason)
            if code in FAULTS:
                span.set_status(StatusCode.ERROR, reason)
            if not isinstance(failure, Error) and isinstance(failure, Exception):
                log.error("a call met a bug", exc_info=failure, extra={"rpc.method": self.name})
        span.end()
        kind = (code, reason, caller.workload if caller else "")
        line, durations = self._kinds.get(kind) or self._kind(kind)
        durations.record(seconds, span.trace_id if type(span) is RecordedSpan else 0)
        line.write(time(), span, round(seconds * 1e3, 3))

    def _kind(self, kind: tuple[str, str, str]) -> _Kind:
        code, reason, workload = kind
        facts = {"rpc.method": self.name, "rpc.status_code": code, "caller": workload}
        if reason:
            facts["reason"] = reason
        if len(self._kinds) >= _KINDS:
            self._kinds.clear()
        made = self._kinds[kind] = _Kind(
            logs.Recurring("mesh.rpc", "call", facts, "duration_ms"),
            metrics.RPC_SERVER_CALL_DURATION.bind(self.name, code, workload),
        )
        return made


class ClientRecord:
    """Records the calls of one method that this process makes."""

    __slots__ = ("attributes", "name", "service", "succeeded")

    def __init__(self, path: str, service: str, target: str) -> None:
        self.name = path.removeprefix("/")
        self.service = service
        self.attributes = tracing.Constants(
            {
                semconv.RPC_SYSTEM_NAME: "grpc",
                semconv.RPC_METHOD: self.name,
                semconv.RPC_STATUS_CODE: OK,
                semconv.SERVER_ADDRESS: target,
                semconv.SERVICE_PEER_NAME: service,
                semconv.PEER_SERVICE: service,
            }
        )
        self.succeeded = metrics.RPC_CLIENT_CALL_DURATION.bind(self.name, OK, service)

    def begin(self) -> tracing.Span:
        """Begins a call, as a child of the current span."""
        return tracing.start_span(self.name, SpanKind.CLIENT, self.attributes)

    def end(self, span: tracing.Span, began: float, failure: BaseException | None) -> None:
        """Ends a call. `began` is of `time.perf_counter`."""
        seconds = perf_counter() - began
        trace_id = span.trace_id if type(span) is RecordedSpan else 0
        if failure is None:
            self.succeeded.record(seconds, trace_id)
        else:
            code = _code_name(failure)
            metrics.RPC_CLIENT_CALL_DURATION.record(
                seconds, self.name, code, self.service, trace_id=trace_id
            )
            span.set_attribute(semconv.RPC_STATUS_CODE, code)
            tracing.fail(span, _reason(failure), "; ".join(getattr(failure, "__notes__", ())))
        span.end()


def _reason(failure: BaseException) -> str:
    return failure.reason if isinstance(failure, Error) else type(failure).__qualname__


def _code_name(failure: BaseException) -> str:
    if isinstance(failure, asyncio.CancelledError):
        return grpc.StatusCode.CANCELLED.name
    return code_of(failure).name
