"""The terms on which a company pays: its limits, and what the bank takes.

Days and nights are those of America/Sao_Paulo. A night goes from 20h to 6h (Banco Central do
Brasil, Resolução BCB 1/2020, art. 37 ff.: what a limit allows grows after 24 hours at the soonest,
and shrinks at once).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from mesh.clock import from_us
from mesh.errors import FailedPrecondition

BRAZIL = ZoneInfo("America/Sao_Paulo")
NIGHT_BEGINS_H = 20
NIGHT_ENDS_H = 6

RAISED_AFTER_US = 24 * 3600 * 1_000_000

CURRENCY = "BRL"

# More than any account may hold: no limit at all.
NO_LIMIT = 10**15

SETTING_ROLES = frozenset({"OWNER"})


class Limit(StrEnum):
    """What a limit is about; the last is a user's, the others a company's. Values are stored."""

    PER_TRANSFER = "per_transfer"
    PER_DAY = "per_day"
    PIX_AT_NIGHT = "pix_at_night"
    WITHOUT_APPROVAL = "without_approval"
    WITHOUT_STEP_UP = "without_step_up"


class FeeKind(StrEnum):
    """What a fee is taken of. The values are stored."""

    INTERNAL = "internal"
    PIX = "pix"


@dataclass(frozen=True, slots=True)
class Bound:
    """The most that a limit allows, in minor units, and what it will be from a moment on."""

    most: int
    next_most: int | None = None
    next_from_us: int | None = None

    def at(self, now_us: int) -> Bound:
        """Gives the limit as it holds now."""
        if self.next_most is None or self.next_from_us is None or now_us < self.next_from_us:
            return self
        return Bound(self.next_most)


@dataclass(frozen=True, slots=True)
class Fee:
    """A fixed part in minor units, and a part of the amount in hundredths of a per cent."""

    fixed: int = 0
    basis_points: int = 0

    def of(self, minor_units: int) -> int:
        """Computes the fee of an amount, rounded down, in minor units."""
        return self.fixed + minor_units * self.basis_points // 10_000


@dataclass(frozen=True, slots=True)
class Terms:
    """Every limit and every fee, as they hold for a company and a user, and what is used up."""

    bounds: Mapping[Limit, Bound]
    fees: Mapping[FeeKind, Fee]
    used: Mapping[Limit, int] = field(default_factory=dict)

    def most(self, limit: Limit) -> int:
        return self.bounds[limit].most


@dataclass(frozen=True, slots=True)
class Use:
    """What a transfer uses up: of which day or night, how much of how much."""

    period: str
    limit: Limit
    minor_units: int
    most: int

    def exceeded(self) -> FailedPrecondition:
        return exceeded(self.limit, self.most)


def exceeded(limit: Limit, most: int) -> FailedPrecondition:
    """Tells that a limit does not allow what is asked for."""
    reason = {
        Limit.PER_TRANSFER: "LIMIT_PER_TRANSFER",
        Limit.PER_DAY: "LIMIT_PER_DAY",
        Limit.PIX_AT_NIGHT: "LIMIT_AT_NIGHT",
    }[limit]
    what = {
        Limit.PER_TRANSFER: "a transfer",
        Limit.PER_DAY: "the transfers of a day",
        Limit.PIX_AT_NIGHT: "the Pix payments of a night",
    }[limit]
    reais, centavos = divmod(most, 100)
    sentence = f"The company's limit for {what} is R$ {reais:,}.{centavos:02d}."
    return FailedPrecondition(reason, sentence).telling(
        limit=limit.name, most=str(most), currency=CURRENCY
    )


def day_of(moment_us: int) -> str:
    """Names the day of a moment."""
    return local(moment_us).date().isoformat()


def night_of(moment_us: int) -> str | None:
    """Names the night of a moment by the day on which it began; None by day."""
    when = local(moment_us)
    if when.hour >= NIGHT_BEGINS_H:
        return f"{when.date().isoformat()}N"
    if when.hour < NIGHT_ENDS_H:
        return f"{(when.date() - timedelta(days=1)).isoformat()}N"
    return None


def local(moment_us: int) -> datetime:
    return from_us(moment_us).astimezone(BRAZIL)
