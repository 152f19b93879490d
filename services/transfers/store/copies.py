"""The copies of what others own: accounts, and who may act for a company."""

from __future__ import annotations

from mesh.db import Row, UnitOfWork, sql
from mesh.errors import NotFound

from ..domain.transfers import Account

ACCOUNTS = sql(
    "SELECT id, accounts.company_id, currency, is_open, may_pay FROM accounts"
    " LEFT JOIN memberships ON memberships.company_id = accounts.company_id AND user_id = :user"
    " WHERE id IN (:payer, :payee)"
)
ADD_ACCOUNT = sql(
    "INSERT INTO accounts (id, company_id, currency, is_open)"
    " VALUES (:id, :company, :currency, :is_open) ON CONFLICT (id) DO NOTHING"
)
CLOSE_ACCOUNT = sql("UPDATE accounts SET is_open = :is_open WHERE id = :id")
LEARN_MEMBER = sql(
    "INSERT INTO memberships (user_id, company_id, may_pay) VALUES (:user, :company, :may_pay)"
    " ON CONFLICT (user_id, company_id) DO NOTHING"
)
MEMBER = sql(
    "INSERT INTO memberships (user_id, company_id, may_pay, role)"
    " VALUES (:user, :company, :may_pay, :role) ON CONFLICT (user_id, company_id)"
    " DO UPDATE SET may_pay = excluded.may_pay, role = excluded.role"
)
ROLES = sql(
    "SELECT company_id, role FROM memberships WHERE user_id = :user AND may_pay IS NOT NULL"
    " ORDER BY company_id"
)


async def accounts_of(
    work: UnitOfWork, user_id: str, payer: str, payee: str = ""
) -> dict[str, Account]:
    rows = await work.fetch_all(ACCOUNTS, user=user_id, payer=payer, payee=payee)
    return {row["id"]: to_account(row) for row in rows}


async def learn(work: UnitOfWork, account: Account, user_id: str) -> None:
    """Keeps what was asked for. What an event says is newer, or will be."""
    await open_account(work, account)
    if account.may_pay:
        await work.execute(LEARN_MEMBER, user=user_id, company=account.company_id, may_pay=True)


async def open_account(work: UnitOfWork, account: Account) -> None:
    await work.execute(
        ADD_ACCOUNT,
        id=account.id,
        company=account.company_id,
        currency=account.currency,
        is_open=account.is_open,
    )


async def close_account(work: UnitOfWork, account_id: str) -> None:
    await work.execute(CLOSE_ACCOUNT, id=account_id, is_open=False)


async def set_member(
    work: UnitOfWork, user_id: str, company_id: str, may_pay: bool | None, role: str = ""
) -> None:
    """Keeps what a user may do; None for no part any more, which no late answer undoes."""
    await work.execute(MEMBER, user=user_id, company=company_id, may_pay=may_pay, role=role)


async def part_of(work: UnitOfWork, user_id: str, company_id: str) -> tuple[str, str]:
    """Finds the company, and the user's role in it; the only one if `company_id` is empty.

    Raises `NotFound` if the user has no part in it, or if it is not clear which is meant.
    """
    rows = await work.fetch_all(ROLES, user=user_id)
    roles = {row["company_id"]: row["role"] for row in rows}
    if not company_id and len(roles) == 1:
        return next(iter(roles.items()))
    if company_id not in roles:
        raise NotFound("COMPANY_NOT_FOUND", "There is no such company, or none was named.")
    return company_id, roles[company_id]


def to_account(row: Row) -> Account:
    may_pay = row["may_pay"]
    return Account(
        id=row["id"],
        company_id=row["company_id"],
        currency=row["currency"],
        is_open=bool(row["is_open"]),
        may_pay=None if may_pay is None else bool(may_pay),
    )
