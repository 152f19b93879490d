"""Drawing a trace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from observability.client import Trace, TraceSpan
from observability.tree import count_orphans, critical_path, duration, render

SPAN = TraceSpan(
    trace_id="ab" * 16,
    span_id="",
    parent_id="",
    service="transfers",
    instance="",
    scope="mesh",
    name="",
    kind="internal",
    start_ns=0,
    end_ns=0,
    error=False,
    message="",
    attributes={},
    links=(),
)


def make(
    span_id: str, parent_id: str = "", start: int = 0, end: int = 10, **changes: Any
) -> TraceSpan:
    own = {"span_id": span_id, "parent_id": parent_id, "name": span_id}
    times = {"start_ns": start * 1_000_000, "end_ns": end * 1_000_000}
    return replace(SPAN, **{**own, **times, **changes})


def draw(*spans: TraceSpan, width: int = 120) -> list[str]:
    return render(Trace("ab" * 16, spans, {}), width=width).splitlines()


def test_children_hang_below_their_parents() -> None:
    lines = draw(make("a"), make("b", "a", 1, 5), make("c", "b", 2, 3), make("d", "a", 6, 7))
    names = [line[:18].rstrip() for line in lines[1:-1]]
    assert names == ["transfers a", "├ transfers b", "│ └ transfers c", "└ transfers d"]


def test_bars_are_as_long_as_the_spans() -> None:
    lines = draw(make("a", end=100), make("b", "a", 50, 100), width=160)
    assert lines[1].count("█") == 40
    assert lines[2].count("█") == 20


def test_a_method_is_named_without_its_package() -> None:
    client = make(
        "a",
        name="bank.pix.v1.PixService/SendPayment",
        kind="client",
        attributes={"service.peer.name": "pix", "rpc.status_code": "OK"},
    )
    line = draw(client)[1]
    assert line.startswith("transfers→pix PixService/SendPayment ")
    assert line.endswith("OK")
    assert draw(make("a", name="GET /v1/accounts"))[1].startswith("transfers GET /v1/accounts ")


def test_a_circle_of_parents_is_drawn_once() -> None:
    lines = draw(make("a", "b"), make("b", "a"), make("c", "c"))
    assert len(lines) == 5


def test_a_deep_trace_is_drawn() -> None:
    spans = [make(str(n), str(n - 1) if n else "") for n in range(3_000)]
    assert len(draw(*spans)) == 3_002


def test_orphans_are_counted() -> None:
    trace = Trace("ab" * 16, (make("a"), make("b", "x"), make("c", "b")), {})
    assert count_orphans(trace) == 1


def test_the_critical_path_leaves_out_what_nobody_waited_for() -> None:
    trace = Trace(
        "ab" * 16,
        (make("a"), make("b", "a", 1, 4), make("c", "a", 5, 9), make("d", "a", 6, 20)),
        {},
    )
    assert [span.span_id for span in critical_path(trace)] == ["a", "c"]


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(0, "0µs"), (12_000, "12µs"), (31_200_000, "31.2ms"), (2_500_000_000, "2.50s")],
)
def test_durations_are_written_for_people(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text
