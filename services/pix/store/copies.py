"""The copies of what others own: accounts, and who may act for them."""

from __future__ import annotations

from mesh.db import UnitOfWork, sql
from mesh.errors import NotFound, PermissionDenied

ADD_ACCOUNT = sql(
    "INSERT INTO accounts (id, company_id, is_open) VALUES (:id, :company, :is_open)"
    " ON CONFLICT (id) DO NOTHING"
)
CLOSE_ACCOUNT = sql("UPDATE accounts SET is_open = :is_open WHERE id = :id")
SET_MEMBER = sql(
    "INSERT INTO memberships (user_id, company_id, may_act) VALUES (:user, :company, :may_act)"
    " ON CONFLICT (user_id, company_id) DO UPDATE SET may_act = excluded.may_act"
)
COMPANY = sql(
    "SELECT company_id, may_act, is_open FROM accounts JOIN memberships USING (company_id)"
    " WHERE accounts.id = :account AND user_id = :user AND may_act IS NOT NULL"
)
OWNER_COMPANY = sql("SELECT company_id FROM accounts WHERE id = :account")


async def open_account(work: UnitOfWork, account_id: str, company_id: str) -> None:
    await work.execute(ADD_ACCOUNT, id=account_id, company=company_id, is_open=True)


async def close_account(work: UnitOfWork, account_id: str) -> None:
    await work.execute(CLOSE_ACCOUNT, id=account_id, is_open=False)


async def set_member(work: UnitOfWork, user_id: str, company_id: str, may_act: bool | None) -> None:
    await work.execute(SET_MEMBER, user=user_id, company=company_id, may_act=may_act)


async def company_to_act_for(work: UnitOfWork, account_id: str, user_id: str) -> str:
    """Names the company of an account that the user may act for, and that is open.

    Raises `NotFound` for what is another's, or `PermissionDenied`.
    """
    row = await work.fetch_one(COMPANY, account=account_id, user=user_id)
    if row is None or not row["is_open"]:
        raise NotFound("ACCOUNT_NOT_FOUND", "There is no such account.")
    must_be_allowed(bool(row["may_act"]))
    return str(row["company_id"])


async def company_of(work: UnitOfWork, account_id: str) -> str:
    """Names the company of an account of ours; empty if there is none."""
    row = await work.fetch_one(OWNER_COMPANY, account=account_id)
    return str(row["company_id"]) if row else ""


def must_be_allowed(allowed: bool) -> None:
    if not allowed:
        raise PermissionDenied("ROLE_MAY_NOT_ACT", "Your role does not allow you to do this.")
