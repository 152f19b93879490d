"""What is read out of an OTLP JSON batch: one row per span, and the resources and scopes.

Everything the query routes promise about the shape of a span is established here, once: ids are
lower-case hex, 64-bit integers are strings, enums are numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

__all__ = ["KINDS", "NotSpans", "Row", "attribute_text", "read"]

KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")
_KIND_NUMBERS: Final = {f"SPAN_KIND_{name.upper()}": number for number, name in enumerate(KINDS)}
_STATUS_NUMBERS: Final = {"STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}
_ERROR: Final = 2
_INT64: Final = 1 << 63


class NotSpans(Exception):
    """The body is not an OTLP JSON export of spans."""


@dataclass(slots=True)
class Row:
    """A span. Times are nanoseconds; `resource`, `scope` and `body` are JSON."""

    trace: bytes
    id: bytes
    parent: bytes | None
    service: str
    resource: bytes
    scope: bytes
    name: str
    kind: int
    start: int
    duration: int
    error: bool
    body: bytes


def read(batch: bytes) -> tuple[list[Row], int]:
    """Reads a batch. Spans that make no sense are left out and counted.

    Raises:
        NotSpans: the body as a whole makes no sense.
    """
    rows: list[Row] = []
    rejected = 0
    try:
        for service, resource, scope, span in _walk(orjson.loads(batch)):
            row = _row(service, resource, scope, span)
            if row is None:
                rejected += 1
            else:
                rows.append(row)
    except (orjson.JSONDecodeError, AttributeError, TypeError) as error:
        raise NotSpans(str(error)) from error
    return rows, rejected


def _walk(document: Any) -> Iterator[tuple[str, bytes, bytes, Any]]:
    for group in document.get("resourceSpans") or ():
        resource = group.get("resource") or {}
        encoded = orjson.dumps(resource, option=orjson.OPT_SORT_KEYS)
        service = "unknown_service"
        for attribute in resource.get("attributes") or ():
            if attribute.get("key") == "service.name":
                service = attribute_text(attribute) or service
        for scoped in group.get("scopeSpans") or ():
            scope = orjson.dumps(scoped.get("scope") or {}, option=orjson.OPT_SORT_KEYS)
            for span in scoped.get("spans") or ():
                yield service, encoded, scope, span


def _row(service: str, resource: bytes, scope: bytes, span: Any) -> Row | None:
    try:
        trace = bytes.fromhex(span["traceId"])
        id_ = bytes.fromhex(span["spanId"])
        parent = bytes.fromhex(span.get("parentSpanId") or "")
        start = int(span["startTimeUnixNano"])
        end = int(span.get("endTimeUnixNano") or start)
        name = span["name"]
        _normalise(span, start, end)
        kind = span["kind"]
        body = orjson.dumps(span)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    valid = len(trace) == 16 and len(id_) == 8 and len(parent) in (0, 8) and any(trace) and any(id_)
    if not valid or not isinstance(name, str) or not 0 <= start < _INT64 or not end < _INT64:
        return None
    error = (span.get("status") or {}).get("code") == _ERROR
    return Row(
        trace=trace,
        id=id_,
        parent=parent if any(parent) else None,
        service=service,
        resource=resource,
        scope=scope,
        name=name,
        kind=kind,
        start=start,
        duration=max(end - start, 0),
        error=error,
        body=body,
    )


def _normalise(span: dict[str, Any], start: int, end: int) -> None:
    span["traceId"] = span["traceId"].lower()
    span["spanId"] = span["spanId"].lower()
    parent = span.pop("parentSpanId", None)
    if parent:
        span["parentSpanId"] = parent.lower()
    span["startTimeUnixNano"] = str(start)
    span["endTimeUnixNano"] = str(end)
    kind = span.get("kind", 0)
    if type(kind) is not int or not 0 <= kind < len(KINDS):
        kind = _KIND_NUMBERS.get(str(kind), 0)
    span["kind"] = kind
    status = span.get("status")
    if status is not None and type(status.get("code", 0)) is not int:
        status["code"] = _STATUS_NUMBERS.get(str(status["code"]), 0)
    for event in span.get("events") or ():
        event["timeUnixNano"] = str(int(event.get("timeUnixNano") or 0))


def attribute_text(attribute: Any) -> str:
    """Gives an attribute's value as text; what is no scalar is JSON, as Jaeger compares it."""
    value = attribute.get("value") or {}
    for kind, content in value.items():
        if kind == "boolValue":
            return "true" if content else "false"
        if isinstance(content, str):
            return content
        if isinstance(content, int | float):
            return str(content)
        return orjson.dumps(content).decode()
    return ""
