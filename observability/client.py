"""Asks a trace store: the embedded one or a Jaeger v2, which speak the same query API v3."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from .tracestore import MARKER

__all__ = [
    "Dependency",
    "Operation",
    "Summary",
    "Trace",
    "TraceClient",
    "TraceNotFound",
    "TraceSpan",
    "TraceStoreError",
    "jaeger_answers",
]

_TIMEOUT_S: Final = 20.0
_MAX_ANSWER: Final = 256 << 20
_KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")
_ERROR: Final = 2


class TraceStoreError(Exception):
    """The store did not answer, or refused; the text says why."""


class TraceNotFound(TraceStoreError):
    """The store has no such trace (yet)."""


@dataclass(frozen=True)
class Operation:
    """What a service does: a span's name and kind."""

    name: str
    kind: str


@dataclass(frozen=True)
class Dependency:
    """How often a service called another."""

    parent: str
    child: str
    calls: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A trace in a list. Times are nanoseconds since 1970."""

    trace_id: str
    service: str
    operation: str
    start_ns: int
    end_ns: int
    spans: int
    errors: int
    orphans: int
    services: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TraceSpan:
    """A span. Ids are hex; `parent_id` is empty for a root; links are pairs of trace and span."""

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    instance: str
    scope: str
    name: str
    kind: str
    start_ns: int
    end_ns: int
    error: bool
    message: str
    attributes: Mapping[str, object]
    links: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Trace:
    """A whole trace: its spans by start, and the OTLP JSON they came as."""

    trace_id: str
    spans: tuple[TraceSpan, ...]
    otlp: Mapping[str, Any] = field(repr=False, compare=False)


class TraceClient:
    """A client of the trace store at `url`. Every question has a deadline."""

    def __init__(self, url: str, *, timeout_s: float = _TIMEOUT_S) -> None:
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s

    async def services(self) -> list[str]:
        """Names the services that have spans."""
        answer = await self._get("/api/v3/services")
        return sorted(answer.get("services") or ())

    async def operations(self, service: str, kind: str = "") -> list[Operation]:
        """Names a service's operations; `kind` is `server`, `client`, …; empty for all."""
        parameters = {"service": service} | ({"spanKind": kind} if kind else {})
        answer = await self._get("/api/v3/operations", parameters)
        found = answer.get("operations") or ()
        return [Operation(each.get("name", ""), each.get("spanKind", "")) for each in found]

    async def find(
        self,
        service: str = "",
        operation: str = "",
        *,
        since_ns: int | None = None,
        until_ns: int | None = None,
        min_duration_ms: float = 0,
        max_duration_ms: float = 0,
        attributes: Mapping[str, str] | None = None,
        limit: int = 20,
    ) -> list[Summary]:
        """Finds traces, the newest first; of the last hour, if no times are given.

        Jaeger wants `service` with most of its storages. `attributes={"error": "true"}` finds
        traces with failed spans.
        """
        now_ns = time.time_ns()
        until_ns = now_ns if until_ns is None else until_ns
        since_ns = until_ns - 3_600_000_000_000 if since_ns is None else since_ns
        parameters = {
            "query.startTimeMin": _rfc3339(since_ns),
            "query.startTimeMax": _rfc3339(until_ns),
            "query.searchDepth": str(limit),
        }
        if service:
            parameters["query.serviceName"] = service
        if operation:
            parameters["query.operationName"] = operation
        if min_duration_ms:
            parameters["query.durationMin"] = f"{round(min_duration_ms * 1_000)}us"
        if max_duration_ms:
            parameters["query.durationMax"] = f"{round(max_duration_ms * 1_000)}us"
        if attributes:
            parameters["query.attributes"] = json.dumps(dict(attributes))
        answer = await self._get("/api/v3/trace-summaries", parameters)
        found = [_summary(each) for each in answer.get("summaries") or ()]
        return sorted(found, key=lambda summary: summary.start_ns, reverse=True)

    async def get(self, trace_id: str) -> Trace:
        """Gives a trace by its id, in hex.

        Raises:
            TraceNotFound: there is none (yet).
        """
        answer = await self._get(f"/api/v3/traces/{quote(trace_id, safe='')}")
        result = answer.get("result") or answer
        spans = _spans(result)
        if not spans:
            raise TraceNotFound(f"no trace {trace_id}")
        return Trace(spans[0].trace_id, tuple(spans), result)

    async def resolve(self, prefix: str, *, hours: float = 24) -> str:
        """Completes the beginning of a trace's id, among the traces of the last hours.

        Raises:
            TraceNotFound: no trace begins so, or more than one does.
        """
        if len(prefix) == 32:
            return prefix
        since_ns = time.time_ns() - int(hours * 3.6e12)
        found = await self.find(since_ns=since_ns, limit=1_000)
        matches = {each.trace_id for each in found if each.trace_id.startswith(prefix.lower())}
        if len(matches) == 1:
            return matches.pop()
        raise TraceNotFound(
            f"{len(matches)} traces begin with {prefix}" if matches else f"no trace {prefix}"
        )

    async def dependencies(self, *, hours: float = 24) -> list[Dependency]:
        """Counts who called whom."""
        parameters = {
            "endTs": str(time.time_ns() // 1_000_000),
            "lookback": str(int(hours * 3.6e6)),
        }
        answer = await self._get("/api/dependencies", parameters)
        return [
            Dependency(each["parent"], each["child"], int(each["callCount"]))
            for each in answer.get("data") or ()
        ]

    def page(self, trace_id: str) -> str:
        """Gives the address of a trace's page."""
        return f"{self.url}/trace/{trace_id}"

    async def _get(self, path: str, parameters: Mapping[str, str] | None = None) -> dict[str, Any]:
        target = f"{path}?{urlencode(parameters)}" if parameters else path
        try:
            status, _, body = await asyncio.to_thread(_fetch, self.url, target, self._timeout_s)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise TraceStoreError(f"{self.url} does not answer: {error}") from error
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if status == 404:
            raise TraceNotFound(f"not found: {path}")
        if status != 200 or not isinstance(answer, dict):
            raise TraceStoreError(f"{self.url} answered {status}: {_reason(answer)}")
        return answer


def jaeger_answers(url: str, timeout_s: float = 1.0) -> bool:
    """Tells whether a Jaeger answers at `url`, and not the embedded store. Blocks."""
    try:
        status, headers, body = _fetch(url.rstrip("/"), "/api/v3/services", timeout_s)
        return (
            status == 200
            and MARKER.lower() not in headers
            and isinstance(json.loads(body).get("services") or [], list)
        )
    except (OSError, http.client.HTTPException, ValueError, AttributeError):
        return False


def _fetch(url: str, target: str, timeout_s: float) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an http(s) address")
    factory = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = factory(parts.hostname, parts.port, timeout=timeout_s)
    try:
        connection.request("GET", parts.path + target, headers={"Accept": "application/json"})
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return response.status, headers, response.read(_MAX_ANSWER)
    finally:
        connection.close()


def _reason(answer: object) -> str:
    if isinstance(answer, dict):
        error = answer.get("error")
        if isinstance(error, dict):
            return str(error.get("message", ""))
    return "no reason given"


def _summary(summary: Mapping[str, Any]) -> Summary:
    services = [each.get("name", "") for each in summary.get("services") or ()]
    return Summary(
        trace_id=summary.get("traceId", ""),
        service=summary.get("rootServiceName", ""),
        operation=summary.get("rootOperationName", ""),
        start_ns=int(summary.get("minStartTimeUnixNano") or 0),
        end_ns=int(summary.get("maxEndTimeUnixNano") or 0),
        spans=int(summary.get("spanCount") or 0),
        errors=int(summary.get("errorSpanCount") or 0),
        orphans=int(summary.get("orphanSpanCount") or 0),
        services=tuple(sorted(services)),
    )


def _spans(result: Mapping[str, Any]) -> list[TraceSpan]:
    spans: dict[str, TraceSpan] = {}
    for group in result.get("resourceSpans") or ():
        resource = _attributes((group.get("resource") or {}).get("attributes") or ())
        for scoped in group.get("scopeSpans") or ():
            scope = (scoped.get("scope") or {}).get("name", "")
            for each in scoped.get("spans") or ():
                span = _span(resource, scope, each)
                spans.setdefault(span.span_id, span)
    return sorted(spans.values(), key=lambda span: (span.start_ns, span.span_id))


def _span(resource: Mapping[str, object], scope: str, span: Mapping[str, Any]) -> TraceSpan:
    status = span.get("status") or {}
    start_ns = int(span.get("startTimeUnixNano") or 0)
    kind = int(span.get("kind") or 0)
    links = span.get("links") or ()
    return TraceSpan(
        trace_id=span.get("traceId", ""),
        span_id=span.get("spanId", ""),
        parent_id=span.get("parentSpanId", ""),
        service=str(resource.get("service.name", "unknown_service")),
        instance=str(resource.get("service.instance.id", "")),
        scope=scope,
        name=span.get("name", ""),
        kind=_KINDS[kind] if 0 <= kind < len(_KINDS) else "unspecified",
        start_ns=start_ns,
        end_ns=int(span.get("endTimeUnixNano") or start_ns),
        error=status.get("code") == _ERROR,
        message=status.get("message", ""),
        attributes=_attributes(span.get("attributes") or ()),
        links=tuple((link.get("traceId", ""), link.get("spanId", "")) for link in links),
    )


def _attributes(attributes: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    return {each.get("key", ""): _value(each.get("value") or {}) for each in attributes}


def _value(value: Mapping[str, Any]) -> object:
    for kind, content in value.items():
        if kind == "intValue":
            return int(content)
        if kind == "arrayValue":
            return [_value(each) for each in (content or {}).get("values") or ()]
        return content
    return ""


def _rfc3339(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"
