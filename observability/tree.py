"""A trace as text: the waterfall of `bank trace show`, its orphans, its critical path."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from . import semconv
from .client import Trace, TraceSpan

__all__ = [
    "children_of",
    "count_orphans",
    "critical_path",
    "duration",
    "label",
    "orphans",
    "render",
]

_BAR: Final = "█"
_MIN_BAR: Final = 12
_MAX_BAR: Final = 40
_MIN_WIDTH: Final = 60
_COLOURS: Final = (32, 33, 34, 35, 36, 92, 94, 95, 96)
_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class _Line:
    """A span with its place in the tree."""

    span: TraceSpan
    lead: str
    parent: TraceSpan | None


def orphans(trace: Trace) -> list[TraceSpan]:
    """Gives the spans whose parent is not in the trace."""
    known = {span.span_id for span in trace.spans}
    return [span for span in trace.spans if span.parent_id and span.parent_id not in known]


def count_orphans(trace: Trace) -> int:
    """Counts the spans whose parent is not in the trace; 0 for a whole trace."""
    return len(orphans(trace))


def critical_path(trace: Trace) -> list[TraceSpan]:
    """Gives the spans that decide how long the root takes: from it, the child that ends last.

    Work that goes on after its parent's end is not waited for, and not on the path.
    """
    children = children_of(trace)
    path: list[TraceSpan] = []
    span = next(iter(children.get("", ())), None)
    while span is not None and span not in path:
        path.append(span)
        end_ns = span.end_ns
        waited = [child for child in children.get(span.span_id, ()) if child.end_ns <= end_ns]
        span = max(waited, key=lambda child: child.end_ns, default=None)
    return path


def render(trace: Trace, *, width: int = 120, colour: bool = False) -> str:
    """Draws the trace: one line a span, with its service, duration, bar and end."""
    start_ns = min(span.start_ns for span in trace.spans)
    end_ns = max(span.end_ns for span in trace.spans)
    lines = list(_walk(trace))
    width = max(width, _MIN_WIDTH)
    bar_width = min(_MAX_BAR, max(_MIN_BAR, width // 4))
    longest = max(len(line.lead) + len(label(line.span)) for line in lines)
    label_width = min(longest, max(width - bar_width - 34, 24))
    known = {span.span_id: span for span in trace.spans}
    scale = bar_width / max(end_ns - start_ns, 1)
    rows = [_heading(trace, end_ns - start_ns)]
    for line in lines:
        span = line.span
        named = _cut(line.lead + label(line.span), label_width).ljust(label_width)
        offset = min(int((span.start_ns - start_ns) * scale), bar_width - 1)
        length = min(max(round((span.end_ns - span.start_ns) * scale), 1), bar_width - offset)
        bar = (" " * offset + _BAR * length).ljust(bar_width)
        if colour:
            bar = f"\x1b[{31 if span.error else _colour(span.service)}m{bar}\x1b[0m"
        took = duration(span.end_ns - span.start_ns).rjust(8)
        rows.append(f"{named} {took}  {bar}  {_ending(line, known)}".rstrip())
    rows.append(_critical(trace))
    return "\n".join(rows)


def duration(nanoseconds: int) -> str:
    """Writes a duration for people."""
    if nanoseconds < _MS // 10:
        return f"{nanoseconds / 1_000:.0f}µs"
    if nanoseconds < 1_000 * _MS:
        return f"{nanoseconds / _MS:.1f}ms"
    return f"{nanoseconds / 1_000 / _MS:.2f}s"


def children_of(trace: Trace) -> dict[str, list[TraceSpan]]:
    """Maps ids to children; "" to what stands at the top: roots, then orphans."""
    known = {span.span_id for span in trace.spans}
    children: dict[str, list[TraceSpan]] = {"": []}
    for span in trace.spans:
        if not span.parent_id:
            children[""].append(span)
        elif span.parent_id in known:
            children.setdefault(span.parent_id, []).append(span)
    children[""] += orphans(trace)
    return children


def _walk(trace: Trace) -> Iterator[_Line]:
    """Gives the spans as they are drawn. Spans in a circle of parents are drawn at the top."""
    children = children_of(trace)
    seen: set[str] = set()
    tops = [*children[""], *trace.spans]
    for top in tops:
        waiting = [_Line(top, "", None)]
        while waiting:
            line = waiting.pop()
            if line.span.span_id in seen:
                continue
            seen.add(line.span.span_id)
            yield line
            below = children.get(line.span.span_id, [])
            trunk = line.lead.replace("├ ", "│ ").replace("└ ", "  ")
            for child in reversed(below):
                branch = "└ " if child is below[-1] else "├ "
                waiting.append(_Line(child, trunk + branch, line.span))


def label(span: TraceSpan) -> str:
    """Says what a span does: its service, whom it asks, and the method or step."""
    peer = span.attributes.get(semconv.SERVICE_PEER_NAME) or span.attributes.get(
        semconv.PEER_SERVICE
    )
    service = f"{span.service}→{peer}" if span.kind == "client" and peer else span.service
    name = _short(span.name)
    attempt = span.attributes.get(semconv.SAGA_ATTEMPT)
    again = f" try {attempt}" if attempt not in (None, "", 1, "1") else ""
    return f"{'⇢ ' if _is_linked(span) else ''}{service} {name}{again}"


def _short(name: str) -> str:
    """Leaves the package out of a method's full name."""
    service, slash, method = name.rpartition("/")
    is_method = slash and "." in service and " " not in service and not service.startswith("/")
    return f"{service.rpartition('.')[2]}/{method}" if is_method else name


def _is_linked(span: TraceSpan) -> bool:
    return bool(span.links) and span.kind == "consumer"


def _ending(line: _Line, known: Mapping[str, TraceSpan]) -> str:
    span = line.span
    words: list[str] = []
    status = str(span.attributes.get(semconv.RPC_STATUS_CODE, ""))
    if span.error:
        words.append(str(span.attributes.get(semconv.ERROR_TYPE) or status or "ERROR"))
        if span.message:
            words.append(f"({span.message})")
    elif status:
        words.append(status)
    for trace_id, span_id in span.links:
        linked = known.get(span_id)
        if trace_id != span.trace_id:
            words.append(f"(linked to trace {trace_id[:8]}…)")
        elif linked is not None and _is_linked(span):
            late = max(span.start_ns - linked.end_ns, 0)
            words.append(f"(linked, +{duration(late)})")
    if span.parent_id and span.parent_id not in known:
        words.append(f"(orphan: parent {span.parent_id} is missing)")
    return " ".join(words)


def _heading(trace: Trace, took_ns: int) -> str:
    services = {span.service for span in trace.spans}
    errors = sum(span.error for span in trace.spans)
    missing = count_orphans(trace)
    parts = [
        f"trace {trace.trace_id}",
        f"{len(trace.spans)} spans",
        f"{len(services)} services",
        duration(took_ns),
    ]
    if errors:
        parts.append(f"{errors} failed")
    if missing:
        parts.append("1 orphan" if missing == 1 else f"{missing} orphans")
    return " · ".join(parts)


def _critical(trace: Trace) -> str:
    steps: list[str] = []
    for span in critical_path(trace):
        if not steps or steps[-1] != span.service:
            steps.append(span.service)
    return f"critical path: {' → '.join(steps)}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _colour(service: str) -> int:
    return _COLOURS[zlib.crc32(service.encode()) % len(_COLOURS)]
