"""Reading the store: services, operations, traces, searches, dependencies. Plain SQL, blocking."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from .spans import KINDS, attribute_text

__all__ = ["Search", "StoredSpan", "dependencies", "find", "operations", "services", "spans_of"]

_BATCH: Final = 500


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is searched for: traces with a span that meets all of it. Times are nanoseconds."""

    start_min: int
    start_max: int
    service: str = ""
    operation: str = ""
    duration_min: int = 0
    duration_max: int = 0
    attributes: Mapping[str, str] = field(default_factory=dict)
    depth: int = 100


@dataclass(frozen=True, slots=True)
class StoredSpan:
    """A span as it is stored. `error` is 0 or 1; `body`, `resource` and `scope` are JSON."""

    id: bytes
    parent: bytes | None
    service: str
    name: str
    kind: int
    start: int
    duration: int
    error: int
    body: bytes
    resource: bytes
    scope: bytes


def services(database: sqlite3.Connection) -> list[str]:
    """Names the services that have spans."""
    rows = database.execute("SELECT DISTINCT service FROM operation ORDER BY service")
    return [service for (service,) in rows]


def operations(database: sqlite3.Connection, service: str, kind: str) -> list[tuple[str, str]]:
    """Names a service's operations with their kinds; `kind` is empty for all kinds."""
    number = KINDS.index(kind) if kind in KINDS else -1
    rows = database.execute(
        "SELECT name, kind FROM operation WHERE service = ? AND (? = '' OR kind = ?) "
        "ORDER BY name, kind",
        (service, kind, number),
    )
    return [(name, KINDS[number]) for name, number in rows]


def find(database: sqlite3.Connection, search: Search) -> list[bytes]:
    """Finds traces, those with the newest matching span first."""
    conditions = ["span.start BETWEEN ? AND ?"]
    values: list[object] = [search.start_min, search.start_max]
    attributes = dict(search.attributes)
    if search.service:
        conditions.append("operation.service = ?")
        values.append(search.service)
    if search.operation:
        conditions.append("operation.name = ?")
        values.append(search.operation)
    if search.duration_min:
        conditions.append("span.duration >= ?")
        values.append(search.duration_min)
    if search.duration_max:
        conditions.append("span.duration <= ?")
        values.append(search.duration_max)
    if "error" in attributes:
        conditions.append("span.error = ?")
        values.append(attributes.pop("error") == "true")
    where = " AND ".join(conditions)
    if attributes:
        return _find_by_attributes(database, where, values, attributes, search.depth)
    rows = database.execute(
        f"SELECT span.trace FROM operation JOIN span ON span.operation = operation.id "  # noqa: S608
        f"WHERE {where} GROUP BY span.trace ORDER BY max(span.start) DESC LIMIT ?",
        (*values, search.depth),
    )
    return [trace for (trace,) in rows]


def _find_by_attributes(
    database: sqlite3.Connection,
    where: str,
    values: Iterable[object],
    attributes: Mapping[str, str],
    depth: int,
) -> list[bytes]:
    """Looks into the spans that meet the other conditions, newest first, until it has enough."""
    rows = database.execute(
        f"SELECT span.trace, span.body, resource.body FROM operation "  # noqa: S608
        f"JOIN span ON span.operation = operation.id JOIN resource ON resource.id = span.resource "
        f"WHERE {where} ORDER BY span.start DESC",
        (*values,),
    )
    found: dict[bytes, None] = {}
    for trace, body, resource in rows:
        if trace not in found and _has(body, resource, attributes):
            found[trace] = None
            if len(found) >= depth:
                break
    return list(found)


def _has(body: bytes, resource: bytes, attributes: Mapping[str, str]) -> bool:
    present: dict[str, str] = {}
    for document in (resource, body):
        for attribute in orjson.loads(document).get("attributes") or ():
            present[attribute.get("key", "")] = attribute_text(attribute)
    return all(present.get(key) == value for key, value in attributes.items())


def spans_of(database: sqlite3.Connection, trace: bytes) -> list[StoredSpan]:
    """Gives a trace's spans by start; a span that was sent twice is one."""
    rows = database.execute(
        "SELECT span.id, span.parent, operation.service, operation.name, operation.kind, "
        "span.start, span.duration, span.error, span.body, resource.body, scope.body "
        "FROM span JOIN operation ON operation.id = span.operation "
        "JOIN resource ON resource.id = span.resource JOIN scope ON scope.id = span.scope "
        "WHERE span.trace = ? ORDER BY span.start, span.position",
        (trace,),
    )
    spans: dict[bytes, StoredSpan] = {}
    for row in rows:
        spans.setdefault(row[0], StoredSpan(*row))
    return list(spans.values())


def dependencies(
    database: sqlite3.Connection, start_min: int, start_max: int
) -> Iterator[tuple[str, str, int]]:
    """Counts the calls between services: a child whose parent is of another service, in a trace."""
    yield from database.execute(
        "SELECT above.service, below.service, count(*) FROM span AS child "
        "JOIN span AS parent ON parent.trace = child.trace AND parent.id = child.parent "
        "JOIN operation AS below ON below.id = child.operation "
        "JOIN operation AS above ON above.id = parent.operation "
        "WHERE child.start BETWEEN ? AND ? AND above.service <> below.service "
        "GROUP BY above.service, below.service ORDER BY above.service, below.service",
        (start_min, start_max),
    )


def attributes_of(document: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Gives an OTLP JSON object's attributes as pairs of key and typed value."""
    for attribute in document.get("attributes") or ():
        yield attribute.get("key", ""), attribute.get("value") or {}
