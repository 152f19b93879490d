"""Objectives, and the alerts that are made of them."""

from __future__ import annotations

import pytest
import yaml

from observability import slo
from observability.slo import Objective

PAYING = Objective(
    name="paying",
    promise="They pay.",
    objective=0.999,
    alert="PaymentsFailing",
    requests="calls",
    of='route="/pay"',
    failed='status=~"5.."',
)


def test_the_committed_rules_are_those_of_the_objectives() -> None:
    assert slo.main(["--check"]) == 0


def test_a_budget_burns_as_fast_as_the_workbook_says() -> None:
    (group,) = yaml.safe_load(slo.render([PAYING]))["groups"]
    page, ticket = (rule for rule in group["rules"] if "alert" in rule)

    assert page["labels"] == {"severity": "page", "slo": "paying"}
    assert 'slo:bad:ratio_1h{slo="paying"} > 0.0144' in page["expr"]
    assert 'slo:bad:ratio_5m{slo="paying"} > 0.0144' in page["expr"]
    assert 'slo:bad:ratio_6h{slo="paying"} > 0.006' in page["expr"]
    assert ticket["labels"]["severity"] == "ticket"
    assert 'slo:bad:ratio_3d{slo="paying"} > 0.001' in ticket["expr"]


def test_a_share_is_of_failures_among_calls() -> None:
    assert PAYING.ratio("5m") == (
        '(sum (rate(calls_count{route="/pay",status=~"5.."}[5m])) '
        'or 0 * sum (rate(calls_count{route="/pay"}[5m]))) '
        '/ (sum (rate(calls_count{route="/pay"}[5m])) > 0)'
    )


def test_a_share_is_of_the_slow_among_calls_by_label() -> None:
    quick = Objective(
        name="quick",
        promise="It is quick.",
        objective=0.99,
        alert="Slow",
        by=["route"],
        requests="calls",
        of='method="GET"',
        slower_than_s=1.0,
    )

    assert quick.ratio("1h") == (
        '1 - sum by (route) (rate(calls_bucket{method="GET",le="1.0"}[1h])) '
        '/ (sum by (route) (rate(calls_count{method="GET"}[1h])) > 0)'
    )
    assert "and on (route) sum by (route)" in quick.enough("page")


def test_a_state_is_bad_for_a_share_of_the_time() -> None:
    fresh = Objective(
        name="fresh", promise="", objective=0.999, alert="Stale", state="max(lag)", bad="> 500"
    )
    (group,) = yaml.safe_load(slo.render([fresh]))["groups"]

    assert group["rules"][0] == {
        "record": "slo:bad",
        "expr": "max(lag) > bool 500",
        "labels": {"slo": "fresh"},
    }
    assert fresh.ratio("6h") == 'avg_over_time(slo:bad{slo="fresh"}[6h])'
    assert fresh.enough("page") == ""


def test_an_objective_says_one_thing() -> None:
    with pytest.raises(ValueError, match="one of"):
        Objective(name="x", promise="", objective=0.9, alert="X", requests="calls", of="")
    with pytest.raises(ValueError, match="objective"):
        Objective(name="x", promise="", objective=99.9, alert="X", state="a", bad="> 1")
