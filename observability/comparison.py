"""Two traces side by side: which spans one has and the other lacks, and where the time went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .client import Trace, TraceSpan
from .tree import children_of, label

__all__ = ["Row", "compare"]

_Place = tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A span of either trace, at its depth in the tree. Durations are nanoseconds."""

    depth: int
    label: str
    before_ns: int | None
    after_ns: int | None
    failed: tuple[bool, bool]

    @property
    def difference_ns(self) -> int | None:
        """How much longer the second took; None where one of them lacks the span."""
        if self.before_ns is None or self.after_ns is None:
            return None
        return self.after_ns - self.before_ns

    def facts(self) -> Mapping[str, Any]:
        """The row for JSON."""
        return {
            "depth": self.depth,
            "span": self.label,
            "beforeNs": self.before_ns,
            "afterNs": self.after_ns,
            "differenceNs": self.difference_ns,
            "failed": list(self.failed),
        }


def compare(before: Trace, after: Trace) -> list[Row]:
    """Pairs the spans of two traces by what they do, under whom, and as the how manieth.

    In the order of `before`; what only `after` has follows its parent's other children.
    """
    first, second = dict(_places(before)), dict(_places(after))
    return [
        Row(
            depth=len(place) - 1,
            label=place[-1][0],
            before_ns=_took(first.get(place)),
            after_ns=_took(second.get(place)),
            failed=(_failed(first.get(place)), _failed(second.get(place))),
        )
        for place in _merged(list(first), list(second))
    ]


def _places(trace: Trace) -> Iterator[tuple[_Place, TraceSpan]]:
    children = children_of(trace)
    waiting: list[tuple[_Place, list[TraceSpan]]] = [((), children[""])]
    seen: set[str] = set()
    while waiting:
        above, spans = waiting.pop()
        times: Counter[str] = Counter()
        for span in spans:
            if span.span_id in seen:
                continue
            seen.add(span.span_id)
            name = label(span)
            place = (*above, (name, times[name]))
            times[name] += 1
            yield place, span
            waiting.append((place, children.get(span.span_id, [])))


def _merged(first: list[_Place], second: list[_Place]) -> list[_Place]:
    """Orders places as a tree is read: each under its parent, in the order they were met."""
    below: dict[_Place, list[_Place]] = {}
    for place in dict.fromkeys([*first, *second]):
        below.setdefault(place[:-1], []).append(place)
    ordered: list[_Place] = []
    waiting = list(reversed(below.get((), [])))
    while waiting:
        place = waiting.pop()
        ordered.append(place)
        waiting += reversed(below.get(place, []))
    return ordered


def _took(span: TraceSpan | None) -> int | None:
    return None if span is None else span.end_ns - span.start_ns


def _failed(span: TraceSpan | None) -> bool:
    return span is not None and span.error
