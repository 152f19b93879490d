"""Ids on the rail, how the sandbox treats a message, and the settlement file."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.clock import to_us
from services.pix.domain.rail import (
    OUR_ISPB,
    RAIL_ID,
    Kind,
    Order,
    Outcome,
    Settlement,
    end_to_end_id,
    return_id,
    settlement_file,
)
from services.pix.sandbox import Behaviour, Play

ORDER = Order(kind=Kind.PAYMENT, end_to_end_id="E1", minor_units=100)
USUAL = Behaviour()


def test_an_end_to_end_id_has_the_official_form() -> None:
    at = to_us(datetime(2026, 3, 4, 5, 6, 59, tzinfo=UTC))

    made = end_to_end_id(OUR_ISPB, at, "one")

    assert re.fullmatch(rf"E{OUR_ISPB}202603040506[0-9A-Za-z]{{11}}", made)
    assert made == end_to_end_id(OUR_ISPB, at, "one") != end_to_end_id(OUR_ISPB, at, "two")
    assert RAIL_ID.fullmatch(made)
    assert return_id(OUR_ISPB, at, "one") == f"D{made[1:]}"


@pytest.mark.parametrize(
    ("key", "play"),
    [
        ("ana@example.com", Play()),
        ("reject-ac03@sandbox.example", Play(outcome=Outcome.REJECTED, code="AC03")),
        ("timeout-settled@sandbox.example", Play(is_lost=True)),
        (
            "timeout-rejected-ab09@sandbox.example",
            Play(outcome=Outcome.REJECTED, code="AB09", is_lost=True),
        ),
        ("lost@sandbox.example", Play(never_arrives=True)),
        ("duplicate@sandbox.example", Play(is_doubled=True)),
        ("delay-2500@sandbox.example", Play(delay_ms=2_500)),
        ("return-be08@sandbox.example", Play(return_code="BE08")),
        ("return-md06-40@sandbox.example", Play(return_code="MD06", return_minor_units=40)),
        ("unknown-1@sandbox.example", Play(outcome=Outcome.REJECTED, code="AC03")),
    ],
)
def test_a_payment_is_treated_as_its_key_says(key: str, play: Play) -> None:
    assert Play.of(replace(ORDER, key=key), USUAL) == play


@given(st.text("0123456789abcdef", min_size=8, max_size=8))
def test_chance_treats_the_same_message_alike(name: str) -> None:
    behaviour = Behaviour(rejected=250, lost_settled=250, lost_rejected=250, lost_message=250)
    order = replace(ORDER, end_to_end_id=name)

    play = Play.of(order, behaviour)

    assert play == Play.of(order, behaviour) != Play()
    assert Play.of(order, USUAL) == Play()


def test_chance_keeps_to_the_shares() -> None:
    behaviour = Behaviour(rejected=300, rejection_code="AM04")

    plays = [
        Play.of(replace(ORDER, end_to_end_id=f"E{number}"), behaviour) for number in range(2_000)
    ]

    rejected = sum(play.outcome is Outcome.REJECTED for play in plays)
    assert 500 < rejected < 700
    assert {play.code for play in plays} == {"", "AM04"}


def test_a_settlement_file_is_read_by_a_spreadsheets_reader() -> None:
    line = Settlement(
        kind=Kind.RETURN,
        end_to_end_id="D1",
        original="E1",
        minor_units=-100,
        settled_at_us=to_us(datetime(2026, 3, 4, 5, 6, tzinfo=UTC)),
    )

    (read,) = csv.DictReader(io.StringIO(settlement_file([line])))

    assert read == {
        "kind": "return",
        "end_to_end_id": "D1",
        "original_end_to_end_id": "E1",
        "minor_units": "-100",
        "settled_at": "2026-03-04T05:06:00.000000+00:00",
    }
