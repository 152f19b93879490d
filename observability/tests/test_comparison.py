"""Comparing two traces."""

from __future__ import annotations

from observability.client import Trace, TraceSpan
from observability.comparison import Row, compare

from .test_tree import make


def traced(*spans: TraceSpan) -> Trace:
    return Trace("ab" * 16, spans, {})


def short(row: Row) -> tuple[int, str, int | None]:
    difference = row.difference_ns
    return row.depth, row.label, None if difference is None else difference // 1_000_000


def test_spans_are_paired_by_what_they_do_and_under_whom() -> None:
    before = traced(make("a", end=10), make("b", "a", 1, 4), make("c", "a", 5, 6))
    after = traced(
        make("1", end=30, name="a"),
        make("2", "1", 1, 24, name="b"),
        make("3", "1", 25, 26, name="c"),
    )

    rows = [short(row) for row in compare(before, after)]

    assert rows == [
        (0, "transfers a", 20),
        (1, "transfers b", 20),
        (1, "transfers c", 0),
    ]


def test_what_one_lacks_stands_where_it_belongs() -> None:
    before = traced(make("a"), make("b", "a", 1, 2), make("z"))
    after = traced(
        make("1", name="a"), make("2", "1", 1, 2, name="b"), make("3", "1", 3, 4, name="b"),
        make("4", name="z"),
    )  # fmt: skip

    rows = [short(row) for row in compare(before, after)]

    assert rows == [
        (0, "transfers a", 0),
        (1, "transfers b", 0),
        (1, "transfers b", None),
        (0, "transfers z", 0),
    ]


def test_a_failure_is_told_of_each() -> None:
    [row] = compare(traced(make("a", error=True)), traced(make("1", name="a")))
    assert row.failed == (True, False)
    assert row.facts()["failed"] == [True, False]
