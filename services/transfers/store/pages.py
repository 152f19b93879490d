"""Lists of transfers, page by page: the newest first, by an id that grows."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.db import UnitOfWork, sql
from services import wire

from ..domain.transfers import Transfer
from .transfers import to_transfer

PAGE = sql(
    "SELECT * FROM transfers WHERE id < :before AND company_id IN"
    " (SELECT company_id FROM memberships WHERE user_id = :user AND may_pay IS NOT NULL)"
    " AND (CAST(:status AS text) = '' OR status = :status)"
    " AND (CAST(:account AS text) = '' OR payer_account_id = :account)"
    " AND created_at_us >= :from_us AND created_at_us < :to_us"
    " ORDER BY id DESC LIMIT :size"
)
AFTER = sql("SELECT * FROM transfers WHERE id > :after ORDER BY id LIMIT :size")

# Comes after every other moment.
LATEST_US = 2**62


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Which transfers are wanted: those older than `before` that fit, the newest first."""

    user: str
    size: int
    before: str = wire.NEWEST
    status: str = ""
    account: str = ""
    from_us: int = 0
    to_us: int = LATEST_US


async def transfers(work: UnitOfWork, page: Page) -> list[Transfer]:
    """Reads transfers of the user's companies."""
    rows = await work.fetch_all(
        PAGE,
        user=page.user,
        size=page.size,
        before=page.before,
        status=page.status,
        account=page.account,
        from_us=page.from_us,
        to_us=page.to_us,
    )
    return [to_transfer(row) for row in rows]


async def after(work: UnitOfWork, transfer_id: str, size: int) -> list[Transfer]:
    """Reads transfers of everybody, the oldest first."""
    rows = await work.fetch_all(AFTER, after=transfer_id, size=size)
    return [to_transfer(row) for row in rows]
