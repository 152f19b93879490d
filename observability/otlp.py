"""Spans as OTLP/HTTP JSON (opentelemetry-proto, JSON Protobuf Encoding), by templates.

Ids are hex, 64-bit integers are strings, enums are numbers, as the specification wants. Only
attributes of known namespaces leave the process; text is cut and masked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import orjson
from opentelemetry.trace import Link

from .redaction import mask
from .semconv import is_allowed
from .spans import Constants, RecordedSpan, Scope

__all__ = ["Encoder"]

_MAX_ATTRIBUTES = 64
_MAX_ELEMENTS = 32
_MAX_TEXT = 1_024
_MAX_CACHED = 8_192
_CACHED_TEXT = 80
_ID_TEXT = 36  # ids do not come again
_INT64 = 1 << 63


class Encoder:
    """Encodes batches of spans of one resource. It remembers what it has seen; for one thread."""

    def __init__(self, resource: Mapping[str, str]) -> None:
        self._keys: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        self._pairs: dict[tuple[str, str], str] = {}
        attributes = ",".join(
            f'{{"key":{_text(key)},"value":{{"stringValue":{_text(value)}}}}}'
            for key, value in resource.items()
            if value
        )
        self._head = (
            f'{{"resourceSpans":[{{"resource":{{"attributes":[{attributes}]}},"scopeSpans":['
        )

    def body(self, spans: Iterable[tuple[Scope, str]]) -> bytes:
        """Puts encoded spans into one export request, grouped by their scopes."""
        groups: dict[Scope, list[str]] = {}
        for scope, text in spans:
            groups.setdefault(scope, []).append(text)
        scopes = ",".join(
            f'{{"scope":{{"name":{self._name(name)},"version":{self._name(version)}}},'
            f'"spans":[{",".join(texts)}]}}'
            for (name, version), texts in groups.items()
        )
        return f"{self._head}{scopes}]}}]}}".encode()

    def span(self, span: RecordedSpan) -> str:
        """Encodes one span."""
        parent_id = span.parent_id
        parent = f'"parentSpanId":"{parent_id:016x}",' if parent_id else ""
        end_ns = span.end_ns if span.end_ns > span.start_ns else span.start_ns
        rest = "" if span.error is None else self._status(span)
        if span.links:
            rest += f',"links":[{",".join(map(self._link, span.links))}]'
        if span.events:
            rest += f',"events":[{",".join(self._event(*event) for event in span.events)}]'
        return (
            f'{{"traceId":"{span.trace_id:032x}","spanId":"{span.span_id:016x}",{parent}'
            f'"name":{self._texts.get(span.name) or self._name(span.name)},'
            f'"kind":{span.kind.value + 1},'
            f'"startTimeUnixNano":"{span.start_ns}","endTimeUnixNano":"{end_ns}",'
            f'"attributes":[{self._attributes(span.attributes)}]{rest}}}'
        )

    def _attributes(self, attributes: Mapping[str, object] | None) -> str:
        if not attributes:
            return ""
        if type(attributes) is Constants:
            if attributes.encoded is None:
                attributes.encoded = self._attributes(dict(attributes))
            return attributes.encoded
        pairs, keys, parts = self._pairs, self._keys, []
        for key, value in attributes.items():
            if type(value) is str:
                known = pairs.get((key, value))
                part = self._pair(key, value) if known is None else known
            else:
                prefix = keys.get(key)
                if prefix is None:
                    prefix = self._key(key)
                encoded = _value(value) if prefix else ""
                part = f"{prefix}{encoded}}}}}" if encoded else ""
            if part:
                parts.append(part)
        return ",".join(parts if len(parts) <= _MAX_ATTRIBUTES else parts[:_MAX_ATTRIBUTES])

    def _pair(self, key: str, value: str) -> str:
        prefix = self._keys.get(key)
        if prefix is None:
            prefix = self._key(key)
        part = f'{prefix}"stringValue":{_text(value)}}}}}' if prefix else ""
        if len(value) <= _CACHED_TEXT and len(key) <= _CACHED_TEXT and len(value) != _ID_TEXT:
            if len(self._pairs) >= _MAX_CACHED:
                self._pairs.clear()
            self._pairs[key, value] = part
        return part

    def _key(self, key: str) -> str:
        """Gives the start of an attribute; empty if it may not leave the process."""
        prefix = f'{{"key":{_text(key)},"value":{{' if is_allowed(key) else ""
        if len(self._keys) >= _MAX_CACHED:
            self._keys.clear()
        self._keys[key] = prefix
        return prefix

    def _name(self, name: str) -> str:
        known = self._texts.get(name)
        if known is None:
            known = _text(name)
            if len(self._texts) >= _MAX_CACHED:
                self._texts.clear()
            self._texts[name] = known
        return known

    def _status(self, span: RecordedSpan) -> str:
        if not span.error:
            return ',"status":{"code":1}'
        if not span.message:
            return ',"status":{"code":2}'
        return f',"status":{{"code":2,"message":{_text(span.message)}}}'

    def _link(self, link: Link) -> str:
        context = link.context
        attributes = self._attributes(link.attributes)
        return (
            f'{{"traceId":"{context.trace_id:032x}","spanId":"{context.span_id:016x}",'
            f'"attributes":[{attributes}]}}'
        )

    def _event(self, time_ns: int, name: str, attributes: Mapping[str, object] | None) -> str:
        return (
            f'{{"timeUnixNano":"{time_ns}","name":{self._name(name)},'
            f'"attributes":[{self._attributes(attributes)}]}}'
        )


def _value(value: object) -> str:
    """Encodes an attribute's value, without the closing braces; empty if it has no encoding."""
    if type(value) is int and -_INT64 <= value < _INT64:
        return f'"intValue":"{value}"'
    if isinstance(value, bool):
        return f'"boolValue":{"true" if value else "false"}'
    if isinstance(value, int):
        whole = int(value)
        return f'"intValue":"{whole}"' if -_INT64 <= whole < _INT64 else ""
    if isinstance(value, float):
        if math.isfinite(value):
            return f'"doubleValue":{float(value)!r}'
        name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        return f'"doubleValue":"{name}"'
    if isinstance(value, str):
        return f'"stringValue":{_text(str.__str__(value))}'
    if isinstance(value, (list, tuple)):
        elements = (_value(element) for element in value[:_MAX_ELEMENTS])
        values = ",".join(f"{{{element}}}" for element in elements if element)
        return f'"arrayValue":{{"values":[{values}]}}'
    return ""


def _text(text: str) -> str:
    """Encodes text as a JSON string: cut, masked, and without lone surrogates."""
    if len(text) > _MAX_TEXT:
        text = text[:_MAX_TEXT]
    text = mask(text)
    try:
        return orjson.dumps(text).decode()
    except TypeError:
        return orjson.dumps(text.encode("utf-8", "replace").decode()).decode()
