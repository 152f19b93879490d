"""When a transfer repeats, by the rule alone."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.clock import to_us
from mesh.errors import InvalidArgument
from services.transfers.domain.recurrence import Frequency, MonthEnd, Recurrence
from services.transfers.domain.terms import BRAZIL, day_of, local, night_of

DATES = st.datetimes(datetime(2025, 1, 1), datetime(2032, 1, 1), timezones=st.just(BRAZIL))


def at(text: str) -> int:
    return to_us(datetime.fromisoformat(text).replace(tzinfo=BRAZIL))


def days(rule: Recurrence, most: int = 5) -> list[str]:
    found, slot, moment = [day_of(rule.starts_at_us)], 0, rule.starts_at_us
    while len(found) < most and (following := rule.after(slot, len(found))):
        slot, moment = following
        found.append(day_of(moment))
    return found


@pytest.mark.parametrize(
    ("frequency", "month_end", "expected"),
    [
        (Frequency.DAILY, MonthEnd.CLIP, ["2027-01-31", "2027-02-01", "2027-02-02"]),
        (Frequency.WEEKLY, MonthEnd.CLIP, ["2027-01-31", "2027-02-07", "2027-02-14"]),
        (Frequency.MONTHLY, MonthEnd.CLIP, ["2027-01-31", "2027-02-28", "2027-03-31"]),
        (Frequency.MONTHLY, MonthEnd.SKIP, ["2027-01-31", "2027-03-31", "2027-05-31"]),
    ],
)
def test_it_repeats_by_day_week_or_month(
    frequency: Frequency, month_end: MonthEnd, expected: list[str]
) -> None:
    rule = Recurrence(frequency=frequency, starts_at_us=at("2027-01-31T10:00"), month_end=month_end)

    assert days(rule, 3) == expected


def test_it_ends_with_its_count_or_its_last_day() -> None:
    start = at("2027-01-30T10:00")

    counted = Recurrence(frequency=Frequency.MONTHLY, starts_at_us=start, count=3)
    until = Recurrence(
        frequency=Frequency.DAILY, starts_at_us=start, ends_at_us=at("2027-02-01T10:00")
    )

    assert days(counted, 9) == ["2027-01-30", "2027-02-28", "2027-03-30"]
    assert days(until, 9) == ["2027-01-30", "2027-01-31", "2027-02-01"]
    with pytest.raises(InvalidArgument):
        Recurrence(frequency=Frequency.DAILY, starts_at_us=start, ends_at_us=start - 1)


@given(DATES, st.sampled_from(Frequency), st.sampled_from(MonthEnd))
def test_moments_grow_and_keep_their_time_of_day(
    start: datetime, frequency: Frequency, month_end: MonthEnd
) -> None:
    rule = Recurrence(frequency=frequency, starts_at_us=to_us(start), month_end=month_end)
    slot, moment = 0, rule.starts_at_us

    for number in range(1, 40):
        following = rule.after(slot, number)
        assert following is not None
        assert following[0] > slot
        assert moment < following[1] <= moment + to_us_of(timedelta(days=63))
        slot, moment = following
        assert local(moment).time() == local(rule.starts_at_us).time()
        if frequency is Frequency.MONTHLY and month_end is MonthEnd.SKIP:
            assert local(moment).day == local(rule.starts_at_us).day


def to_us_of(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("moment", "night"),
    [
        ("2027-03-10T19:59", None),
        ("2027-03-10T20:00", "2027-03-10N"),
        ("2027-03-11T00:00", "2027-03-10N"),
        ("2027-03-11T05:59", "2027-03-10N"),
        ("2027-03-11T06:00", None),
    ],
)
def test_a_night_goes_from_eight_to_six(moment: str, night: str | None) -> None:
    assert night_of(at(moment)) == night
