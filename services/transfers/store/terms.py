"""Limits and fees as they are kept, and what is used of a limit.

That a limit is not exceeded is the database's to say: what is used grows by one guarded statement,
in the transaction of the transfer, and a constraint stands behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from mesh.db import Row, UnitOfWork, sql
from mesh.errors import PermissionDenied

from ..domain.terms import (
    NO_LIMIT,
    RAISED_AFTER_US,
    SETTING_ROLES,
    Bound,
    Fee,
    FeeKind,
    Limit,
    Terms,
    Use,
    day_of,
    night_of,
)
from . import copies

FEE = "fee_"

TERMS = sql(
    "SELECT subject_id, kind, minor_units, basis_points, next_minor_units, next_from_us"
    " FROM terms WHERE subject_id IN ('', :company, :user)"
)
USE = sql(
    "INSERT INTO usage (company_id, period, used, allowed)"
    " VALUES (:company, :period, :amount, :most) ON CONFLICT (company_id, period)"
    " DO UPDATE SET used = usage.used + excluded.used, allowed = excluded.allowed"
    " WHERE usage.used + excluded.used <= excluded.allowed"
)
GIVE_BACK = sql(
    "UPDATE usage SET used = used - :amount WHERE company_id = :company AND period = :period"
)
USED = sql("SELECT period, used FROM usage WHERE company_id = :company")
# What is asked for is compared with what holds at this moment, whatever it was when it was read:
# a limit that is raised keeps its old value for a while, and two raises at once are no trick.
HOLDS = (
    "CASE WHEN terms.next_from_us <= :now_us THEN terms.next_minor_units ELSE terms.minor_units END"
)
SET_LIMIT = sql(
    """
    INSERT INTO terms (subject_id, kind, minor_units, next_minor_units, next_from_us)
    VALUES (:subject, :kind, :first, :first_next, :first_from_us)
    ON CONFLICT (subject_id, kind) DO UPDATE SET
        minor_units = CASE WHEN :most <= [holds] THEN :most ELSE [holds] END,
        next_from_us = CASE
            WHEN :most <= [holds] THEN NULL
            WHEN terms.next_minor_units = :most AND terms.next_from_us > :now_us
                THEN terms.next_from_us
            ELSE :from_us END,
        next_minor_units = CASE WHEN :most <= [holds] THEN NULL ELSE :most END
    """.replace("[holds]", HOLDS)
)
SET_FEE = sql(
    "INSERT INTO terms (subject_id, kind, minor_units, basis_points)"
    " VALUES (:subject, :kind, :fixed, :basis_points) ON CONFLICT (subject_id, kind)"
    " DO UPDATE SET minor_units = excluded.minor_units, basis_points = excluded.basis_points"
)


async def terms_of(work: UnitOfWork, company: str, user_id: str, now_us: int) -> Terms:
    """Reads the terms that hold for a company and a user now, changes on their way included."""
    work.company_id = company
    rows = await work.fetch_all(TERMS, company=company, user=user_id)
    found: dict[str, Row] = {}
    for row in rows:
        # What is a subject's own replaces the default.
        if row["subject_id"] or row["kind"] not in found:
            found[row["kind"]] = row
    return Terms(
        bounds={limit: to_bound(found[limit]).at(now_us) for limit in Limit},
        fees={kind: to_fee(found.get(f"{FEE}{kind}")) for kind in FeeKind},
    )


async def use(work: UnitOfWork, company: str, uses: Iterable[Use]) -> None:
    """Uses limits up. Raises `FailedPrecondition` if one of them does not allow it."""
    for each in uses:
        if each.minor_units > each.most or not await work.execute(
            USE,
            company=company,
            period=each.period,
            amount=each.minor_units,
            most=each.most,
        ):
            raise each.exceeded()


async def give_back(
    work: UnitOfWork, company: str, periods: Iterable[str], minor_units: int
) -> None:
    for period in periods:
        await work.execute(GIVE_BACK, company=company, period=period, amount=minor_units)


async def read(work: UnitOfWork, user_id: str, company_id: str, now_us: int) -> tuple[str, Terms]:
    """Reads the terms of one of the user's companies, with what is used up; the only one if
    `company_id` is empty.
    """
    company, _ = await copies.part_of(work, user_id, company_id)
    holding = await terms_of(work, company, user_id, now_us)
    return company, replace(holding, used=await used(work, company, now_us))


async def update(
    work: UnitOfWork, user_id: str, company_id: str, wanted: Mapping[Limit, int | None], now_us: int
) -> tuple[str, Terms]:
    """Sets limits; None for the bank's own. Raises `PermissionDenied` for those of others."""
    company, role = await copies.part_of(work, user_id, company_id)
    holding = await terms_of(work, company, user_id, now_us)
    defaults = await terms_of(work, "", "", now_us)
    for limit, most in wanted.items():
        is_own = limit is Limit.WITHOUT_STEP_UP
        if not is_own and role not in SETTING_ROLES:
            raise PermissionDenied("ROLE_MAY_NOT_SET_LIMITS", "Only an owner sets limits.")
        capped = min(defaults.most(limit) if most is None else most, NO_LIMIT)
        subject = user_id if is_own else company
        await set_limit(work, subject, limit, capped, holding.bounds[limit], now_us)
    return await read(work, user_id, company, now_us)


async def used(work: UnitOfWork, company: str, now_us: int) -> dict[Limit, int]:
    """Tells how much of the day's limit is used, and of the night's: the current, or the next."""
    rows = await work.fetch_all(USED, company=company)
    found = {row["period"]: int(row["used"]) for row in rows}
    night = night_of(now_us) or f"{day_of(now_us)}N"
    return {
        Limit.PER_DAY: found.get(day_of(now_us), 0),
        Limit.PIX_AT_NIGHT: found.get(night, 0),
    }


async def set_limit(
    work: UnitOfWork, subject_id: str, limit: Limit, most: int, holds: Bound, now_us: int
) -> None:
    """Sets a limit: at once if it is no higher than what `holds` now, or else after 24 hours."""
    is_raised = most > holds.most
    await work.execute(
        SET_LIMIT,
        subject=subject_id,
        kind=limit,
        most=most,
        now_us=now_us,
        from_us=now_us + RAISED_AFTER_US,
        first=holds.most if is_raised else most,
        first_next=most if is_raised else None,
        first_from_us=now_us + RAISED_AFTER_US if is_raised else None,
    )


async def set_fee(work: UnitOfWork, company: str, kind: FeeKind, fee: Fee) -> None:
    await work.execute(
        SET_FEE,
        subject=company,
        kind=f"{FEE}{kind}",
        fixed=fee.fixed,
        basis_points=fee.basis_points,
    )


def to_bound(row: Row) -> Bound:
    return Bound(row["minor_units"], row["next_minor_units"], row["next_from_us"])


def to_fee(row: Row | None) -> Fee:
    return Fee() if row is None else Fee(row["minor_units"], row["basis_points"])
