"""API keys and what may be asked with them. No gRPC, no NATS, no SQL."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from mesh.errors import FailedPrecondition
from mesh.ids import new_id

from . import SECOND_US, Role

# By this anybody knows a secret that has got lost, and whose it is.
PREFIX = "bank_live_"
SHOWN = len(PREFIX) + 4

MOST_KEYS = 50
PER_SECOND = 10

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much may be asked with a key; zero of a quota: as much as one likes."""

    per_second: int = PER_SECOND
    burst: int = 2 * PER_SECOND
    daily_quota: int = 0
    monthly_quota: int = 0


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key of a company. Other services know it as a member of the company, by its id.

    `day` and `month` count since 1970, in UTC: those in which it was used last.
    """

    id: str = field(default_factory=new_id)
    company_id: str
    name: str = field(repr=False)
    digest: str = field(repr=False)
    prefix: str
    scopes: tuple[str, ...]
    plan: Plan
    created_by: str
    created_at_us: int
    last_used_us: int | None = None
    is_revoked: bool = False
    day: int = 0
    used_today: int = 0
    month: int = 0
    used_this_month: int = 0

    @property
    def role(self) -> Role:
        """What the key is for the company: it pays, or it reads."""
        return Role.OPERATOR if "transfers:write" in self.scopes else Role.VIEWER

    def used(self, uses: int, now_us: int) -> ApiKey:
        """Counts uses; a new day and a new month begin at zero."""
        day, month = day_of(now_us), month_of(now_us)
        return replace(
            self,
            day=day,
            used_today=uses + (self.used_today if self.day == day else 0),
            month=month,
            used_this_month=uses + (self.used_this_month if self.month == month else 0),
            last_used_us=now_us if uses else self.last_used_us,
        )

    def left(self, now_us: int) -> tuple[int | None, int]:
        """Tells how many uses are left, None for any number, and in how many seconds there are
        more.
        """
        now = self.used(0, now_us)
        moment = EPOCH + timedelta(microseconds=now_us)
        begin = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        next_day = begin + timedelta(days=1)
        next_month = (begin.replace(day=1) + timedelta(days=32)).replace(day=1)
        lefts = []
        if self.plan.daily_quota:
            lefts.append((self.plan.daily_quota - now.used_today, next_day))
        if self.plan.monthly_quota:
            lefts.append((self.plan.monthly_quota - now.used_this_month, next_month))
        if not lefts:
            return None, 0
        # Of two that are used up, the one that lasts longer counts.
        spent = [until for left, until in lefts if left <= 0]
        left, until = (0, max(spent)) if spent else min(lefts)
        return left, int((until - moment).total_seconds()) + 1


def day_of(now_us: int) -> int:
    return now_us // (86_400 * SECOND_US)


def month_of(now_us: int) -> int:
    moment = EPOCH + timedelta(microseconds=now_us)
    return (moment.year - EPOCH.year) * 12 + moment.month - 1


def new_secret() -> str:
    """Makes a secret: 256 bits, which nobody guesses."""
    return PREFIX + secrets.token_urlsafe(32)


def too_many_keys() -> FailedPrecondition:
    return FailedPrecondition("TOO_MANY_KEYS", "Revoke an API key first; there are too many.")
