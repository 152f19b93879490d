"""The shapes of the answers: Jaeger's API v3, and the older shape of a single trace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson

from .queries import StoredSpan, attributes_of
from .spans import KINDS

__all__ = ["legacy_trace", "summary", "traces"]

_TYPES: Final = {"intValue": "int64", "doubleValue": "float64", "boolValue": "bool"}


def traces(found: Iterable[Sequence[StoredSpan]]) -> bytes:
    """Writes traces as OTLP JSON, put together from what is stored."""
    groups: list[bytes] = []
    for spans in found:
        by_resource: dict[bytes, dict[bytes, list[bytes]]] = {}
        for span in spans:
            scopes = by_resource.setdefault(span.resource, {})
            scopes.setdefault(span.scope, []).append(span.body)
        for resource, scopes in by_resource.items():
            scoped = b",".join(
                b'{"scope":%b,"spans":[%b]}' % (scope, b",".join(bodies))
                for scope, bodies in scopes.items()
            )
            groups.append(b'{"resource":%b,"scopeSpans":[%b]}' % (resource, scoped))
    return b'{"result":{"resourceSpans":[%b]}}' % b",".join(groups)


def summary(trace: bytes, spans: Sequence[StoredSpan]) -> dict[str, Any]:
    """Sums a trace up."""
    known = {span.id for span in spans}
    root = next((span for span in spans if span.parent is None), spans[0])
    services: dict[str, dict[str, Any]] = {}
    for span in spans:
        service = services.setdefault(
            span.service, {"name": span.service, "spanCount": 0, "errorSpanCount": 0}
        )
        service["spanCount"] += 1
        service["errorSpanCount"] += span.error
    return {
        "traceId": trace.hex(),
        "rootServiceName": root.service,
        "rootOperationName": root.name,
        "minStartTimeUnixNano": str(min(span.start for span in spans)),
        "maxEndTimeUnixNano": str(max(span.start + span.duration for span in spans)),
        "spanCount": len(spans),
        "errorSpanCount": sum(span.error for span in spans),
        "orphanSpanCount": sum(
            span.parent is not None and span.parent not in known for span in spans
        ),
        "services": sorted(services.values(), key=lambda service: str(service["name"])),
    }


def legacy_trace(trace: bytes, spans: Sequence[StoredSpan]) -> dict[str, Any]:
    """Gives a trace as `/api/traces/{id}` has it: microseconds, tags, references, processes."""
    processes: dict[bytes, str] = {}
    for span in spans:
        processes.setdefault(span.resource, f"p{len(processes) + 1}")
    services = {span.resource: span.service for span in spans}
    return {
        "traceID": trace.hex(),
        "spans": [_legacy_span(trace, span, processes[span.resource]) for span in spans],
        "processes": {
            name: {
                "serviceName": services[resource],
                "tags": [
                    _tag(key, value)
                    for key, value in attributes_of(orjson.loads(resource))
                    if key != "service.name"
                ],
            }
            for resource, name in processes.items()
        },
        "warnings": None,
    }


def _legacy_span(trace: bytes, span: StoredSpan, process: str) -> dict[str, Any]:
    body = orjson.loads(span.body)
    references = []
    if span.parent is not None:
        references.append(_reference("CHILD_OF", trace.hex(), span.parent.hex()))
    for link in body.get("links") or ():
        references.append(
            _reference("FOLLOWS_FROM", link.get("traceId", ""), link.get("spanId", ""))
        )
    scope = orjson.loads(span.scope)
    tags = [_text_tag("otel.scope.name", scope["name"])] if scope.get("name") else []
    tags += [_tag(key, value) for key, value in attributes_of(body)]
    if span.kind:
        tags.append(_text_tag("span.kind", KINDS[span.kind]))
    if span.error:
        tags.append({"key": "error", "type": "bool", "value": True})
        tags.append(_text_tag("otel.status_code", "ERROR"))
        message = (body.get("status") or {}).get("message")
        if message:
            tags.append(_text_tag("otel.status_description", message))
    return {
        "traceID": trace.hex(),
        "spanID": span.id.hex(),
        "operationName": span.name,
        "references": references,
        "startTime": span.start // 1_000,
        "duration": span.duration // 1_000,
        "tags": tags,
        "logs": [_legacy_log(event) for event in body.get("events") or ()],
        "processID": process,
        "warnings": None,
    }


def _legacy_log(event: Any) -> dict[str, Any]:
    fields = [_text_tag("event", event.get("name", ""))]
    fields += [_tag(key, value) for key, value in attributes_of(event)]
    return {"timestamp": int(event["timeUnixNano"]) // 1_000, "fields": fields}


def _reference(type_: str, trace: str, span: str) -> dict[str, str]:
    return {"refType": type_, "traceID": trace, "spanID": span}


def _text_tag(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "type": "string", "value": value}


def _tag(key: str, value: dict[str, Any]) -> dict[str, Any]:
    for kind, content in value.items():
        if kind in _TYPES:
            content = int(content) if kind == "intValue" else content
            return {"key": key, "type": _TYPES[kind], "value": content}
        if isinstance(content, str):
            return _text_tag(key, content)
        return _text_tag(key, orjson.dumps(content).decode())
    return _text_tag(key, "")
