"""The parameters of a search, as Jaeger's HTTP gateway takes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import orjson

from .queries import Search

__all__ = ["Malformed", "duration_ns", "search", "time_ns", "trace_id"]

MAX_DEPTH: Final = 1_500
_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+", re.ASCII)
_PART: Final = re.compile(r"(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h)", re.ASCII)
_FRACTION: Final = re.compile(r"\.(\d+)")
_MAX_NS: Final = (1 << 63) - 1


class Malformed(Exception):
    """A parameter that cannot be read; the text names it."""


def search(parameters: Mapping[str, str]) -> Search:
    """Reads `query.*`; the older names with underscores are understood, too.

    Raises:
        Malformed: a parameter is missing or cannot be read.
    """
    start_min = _get(parameters, "startTimeMin")
    start_max = _get(parameters, "startTimeMax")
    if not start_min or not start_max:
        raise Malformed("query.startTimeMin and query.startTimeMax are required")
    depth = _get(parameters, "searchDepth") or parameters.get("query.num_traces", "") or "100"
    if not depth.isascii() or not depth.isdigit() or len(depth) > 9:
        raise Malformed(f"malformed parameter query.searchDepth: {depth}")
    if not 1 <= int(depth) <= MAX_DEPTH:
        raise Malformed(f"query.searchDepth must be between 1 and {MAX_DEPTH}")
    shortest, longest = _get(parameters, "durationMin"), _get(parameters, "durationMax")
    return Search(
        start_min=time_ns("query.startTimeMin", start_min),
        start_max=time_ns("query.startTimeMax", start_max),
        service=_get(parameters, "serviceName"),
        operation=_get(parameters, "operationName"),
        duration_min=duration_ns("query.durationMin", shortest) if shortest else 0,
        duration_max=duration_ns("query.durationMax", longest) if longest else 0,
        attributes=_attributes(parameters.get("query.attributes", "")),
        depth=int(depth),
    )


def time_ns(name: str, text: str) -> int:
    """Reads an RFC 3339 time as nanoseconds since 1970."""
    fraction = _FRACTION.search(text)
    try:
        moment = datetime.fromisoformat(_FRACTION.sub("", text, count=1))
    except ValueError:
        raise Malformed(f"malformed parameter {name}: {text[:64]}") from None
    if moment.tzinfo is None:
        raise Malformed(f"malformed parameter {name}: no time zone")
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    nanoseconds = int(fraction[1][:9].ljust(9, "0")) if fraction else 0
    return min((since.days * 86_400 + since.seconds) * 1_000_000_000 + nanoseconds, _MAX_NS)


def duration_ns(name: str, text: str) -> int:
    """Reads a duration as Go writes it (`1m30s`, `1.5ms`) as nanoseconds."""
    if len(text) > 64 or _DURATION.fullmatch(text) is None:
        raise Malformed(f"malformed parameter {name}: {text[:64]}")
    total = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    return min(int(total), _MAX_NS)


def trace_id(text: str) -> bytes:
    """Reads a trace's id: up to 32 hex digits."""
    try:
        return bytes.fromhex(text.rjust(32, "0")) if text and len(text) <= 32 else _bad_id()
    except ValueError:
        return _bad_id()


def _bad_id() -> bytes:
    raise Malformed("malformed parameter trace_id: it is not up to 32 hex digits")


def _get(parameters: Mapping[str, str], name: str) -> str:
    older = re.sub(r"([A-Z])", lambda match: f"_{match[1].lower()}", name)
    return parameters.get(f"query.{name}") or parameters.get(f"query.{older}") or ""


def _attributes(text: str) -> dict[str, str]:
    if not text:
        return {}
    try:
        attributes = orjson.loads(text)
    except orjson.JSONDecodeError:
        attributes = None
    if not isinstance(attributes, dict) or not all(isinstance(v, str) for v in attributes.values()):
        raise Malformed("malformed parameter query.attributes: it is not an object of strings")
    return attributes
