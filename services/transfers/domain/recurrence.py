"""When a transfer repeats. Days and times of day are those of America/Sao_Paulo."""

from __future__ import annotations

import calendar
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from mesh.clock import to_us
from mesh.errors import AlreadyExists, FailedPrecondition, InvalidArgument

from .terms import local
from .transfers import LATEST_SCHEDULE_US, Status, Supplier, Transfer

MONTHS = 12


class Frequency(StrEnum):
    """How often a transfer repeats. The names are those of the contract; the values are stored."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


class MonthEnd(StrEnum):
    """What becomes of an occurrence in a month that lacks its day. The values are stored."""

    CLIP = "clip"
    SKIP = "skip"


class RecurringStatus(StrEnum):
    """Whether a recurring transfer goes on. The values are stored."""

    ACTIVE = "active"
    ENDED = "ended"
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recurrence:
    """A rule that gives moments: the first, and others after it. `count` 0 is without end.

    Its moments are numbered by slots, one a day, a week or a month; a slot may be left out.
    """

    frequency: Frequency
    starts_at_us: int
    ends_at_us: int | None = None
    count: int = 0
    month_end: MonthEnd = MonthEnd.CLIP

    def __post_init__(self) -> None:
        if self.ends_at_us is not None and self.ends_at_us < self.starts_at_us:
            raise InvalidArgument("RECURRENCE_ENDS_TOO_EARLY", "It ends before it starts.")

    def moment(self, slot: int) -> int | None:
        """Tells the moment of a slot; None if the slot is left out."""
        first = local(self.starts_at_us)
        if self.frequency is not Frequency.MONTHLY:
            days = slot * (7 if self.frequency is Frequency.WEEKLY else 1)
            # Wall-clock arithmetic: the time of day stays, whatever the offset from UTC is then.
            return to_us(first + timedelta(days=days))
        return self._of_month(first, slot)

    def _of_month(self, first: datetime, slot: int) -> int | None:
        years, month = divmod(first.month - 1 + slot, MONTHS)
        year = first.year + years
        last_day = calendar.monthrange(year, month + 1)[1]
        if first.day > last_day and self.month_end is MonthEnd.SKIP:
            return None
        day = min(first.day, last_day)
        return to_us(first.replace(year=year, month=month + 1, day=day))

    def after(self, slot: int, occurred: int) -> tuple[int, int] | None:
        """Finds what follows a slot after `occurred` times: its slot and moment, if any."""
        if self.count and occurred >= self.count:
            return None
        # No two months in a row lack a day that a month before them had.
        for following in range(slot + 1, slot + 4):
            moment = self.moment(following)
            if moment is not None:
                is_over = self.ends_at_us is not None and moment > self.ends_at_us
                return None if is_over else (following, moment)
        raise AssertionError("a month of three has every day")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recurring:
    """An instruction to make the same transfer again and again.

    `model` is what each of them looks like. `slot` and `next_at_us` tell the next occurrence, and
    `occurred` how many there were, refused ones included.
    """

    id: str
    model: Transfer
    recurrence: Recurrence
    status: RecurringStatus = RecurringStatus.ACTIVE
    slot: int = 0
    next_at_us: int | None
    occurred: int = 0

    def must_repeat(self, earlier: Recurring) -> None:
        asked = (self.model.instruction(), self.recurrence)
        if asked != (earlier.model.instruction(), earlier.recurrence):
            raise AlreadyExists("REQUEST_ID_TAKEN", "This request id names another transfer.")

    def to(self, supplier: Supplier | None) -> Recurring:
        """Gives it with where its supplier is paid now. Raises `NotFound` if that is None."""
        return replace(self, model=self.model.to(supplier))

    def must_start_ahead(self, now_us: int) -> None:
        wait_us = self.recurrence.starts_at_us - now_us
        if wait_us < 0:
            raise InvalidArgument("SCHEDULED_IN_THE_PAST", "It starts in the future.")
        if wait_us > LATEST_SCHEDULE_US:
            raise InvalidArgument("SCHEDULED_TOO_LATE", "It starts within a year at the latest.")

    def occurrence(self, number: int, transfer_id: str, now_us: int) -> Transfer:
        """Makes the transfer of an occurrence. Its request id is derived: it is asked for once."""
        return replace(
            self.model,
            id=transfer_id,
            request_id=occurrence_id(self.id, number),
            created_at_us=now_us,
            status=Status.PENDING,
            recurring=self.id,
        )

    def cancelled(self) -> Recurring:
        if self.status is RecurringStatus.ENDED:
            raise FailedPrecondition("RECURRING_ENDED", "All of it has occurred.")
        return replace(self, status=RecurringStatus.CANCELLED, next_at_us=None)


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One time of a recurring transfer, numbered from 1."""

    recurring: Recurring
    number: int


def occurrence_id(recurring_id: str, number: int) -> str:
    return f"{recurring_id}:{number}"


def read_occurrence_id(entity_id: str) -> tuple[str, int]:
    recurring_id, _, number = entity_id.rpartition(":")
    return recurring_id, int(number)
