"""How traffic is told on a command line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from mesh.cli import words
from mesh.supervisor.problem import USAGE, Problem


def test_spans_of_time() -> None:
    assert words.span("100ms") == timedelta(milliseconds=100)
    assert words.span("1.5m") == timedelta(seconds=90)


def test_shares() -> None:
    assert [(each.version, each.weight) for each in words.shares(["v1=90", "0.2.0=10"])] == [
        ("v1", 90),
        ("0.2.0", 10),
    ]


def test_headers() -> None:
    whole, start, expression, there = words.headers(["X-A=b=c", "x-b^=go", "x-c~=a|b", "x-d"])

    assert (whole.name, whole.exact) == ("x-a", "b=c")
    assert (start.name, start.prefix) == ("x-b", "go")
    assert (expression.name, expression.regex) == ("x-c", "a|b")
    assert (there.name, there.present) == ("x-d", True)


def test_faults() -> None:
    fault = words.fault(["abort=unavailable:10%", "delay=100ms"])

    assert (fault.abort, fault.abort_percent) == ("UNAVAILABLE", 10)
    assert (fault.delay.ToMilliseconds(), fault.delay_percent) == (100, 100)


def test_steps() -> None:
    first, second = words.steps("5:10s, 50%")

    assert (first.weight, first.hold.seconds) == (5, 10)
    assert (second.weight, second.hold.seconds) == (50, 30)


def test_bounds() -> None:
    exact, between = words.bounds(["drift@accounts=0", "lag=-1..5.5"])

    assert (exact.metric, exact.service, exact.least, exact.greatest) == ("drift", "accounts", 0, 0)
    assert (between.metric, between.service) == ("lag", "")
    assert (between.least, between.greatest) == (-1, 5.5)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (lambda text: words.bounds([text]), "drift"),
        (words.span, "5"),
        (words.span, "5 days"),
        (lambda text: words.shares([text]), "v1"),
        (lambda text: words.shares([text]), "v1=many"),
        (lambda text: words.headers([text]), "=x"),
        (lambda text: words.fault([text]), "abort"),
        (lambda text: words.fault([text]), "abort=UNAVAILABLE:some"),
        (lambda text: words.fault([text]), "panic=1"),
        (words.steps, "half:1s"),
    ],
)
def test_nonsense_is_refused_with_an_example(read: Callable[[str], object], text: str) -> None:
    with pytest.raises(Problem) as caught:
        read(text)

    assert caught.value.exit_code == USAGE
    assert caught.value.remedy
