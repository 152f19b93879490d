"""Where transfers are kept, and the copies of what others own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Index, MetaData, UniqueConstraint
from sqlmodel import Field, SQLModel

from bank.transfers.v1 import events_pb2 as events
from mesh.db import Row, UnitOfWork, sql
from mesh.errors import FailedPrecondition, NotFound
from services import wire
from services.money import Money

from .domain import Account, Status, Supplier, Transfer

# Stored.
MOVE_MONEY = "move_money"

# For the rows that were there before the column.
EMPTY = {"server_default": ""}


class Table(SQLModel):
    """The base of this service's tables."""

    metadata: ClassVar[MetaData] = MetaData()


class TransferRow(Table, table=True):
    __tablename__ = "transfers"
    __table_args__ = (
        UniqueConstraint("requested_by", "request_id", name="transfers_request"),
        CheckConstraint("minor_units > 0", name="transfers_amount"),
        CheckConstraint("(payee_account_id = '') <> (pix_key = '')", name="transfers_payee"),
        Index("transfers_company", "company_id", "id"),
    )

    id: str = Field(primary_key=True, max_length=36)
    requested_by: str = Field(max_length=36)
    request_id: str = Field(max_length=255)
    company_id: str = Field(max_length=36)
    payer_account_id: str = Field(max_length=36)
    payee_account_id: str = Field(max_length=36)
    pix_key: str = Field(max_length=77)
    minor_units: int = Field(sa_type=BigInteger)
    currency: str = Field(max_length=3)
    description: str = Field(max_length=140)
    created_at_us: int = Field(sa_type=BigInteger)
    scheduled_for_us: int | None = Field(sa_type=BigInteger)
    status: str = Field(max_length=16)
    failure_reason: str = Field(max_length=64)
    end_to_end_id: str = Field(max_length=32)
    supplier_id: str = Field(max_length=36, sa_column_kwargs=EMPTY)
    payee_name: str = Field(max_length=140, sa_column_kwargs=EMPTY)


class AccountRow(Table, table=True):
    __tablename__ = "accounts"

    id: str = Field(primary_key=True, max_length=36)
    company_id: str = Field(max_length=36)
    currency: str = Field(max_length=3)
    is_open: bool


class MembershipRow(Table, table=True):
    __tablename__ = "memberships"

    user_id: str = Field(primary_key=True, max_length=36)
    company_id: str = Field(primary_key=True, max_length=36)
    # Null when the user has no part in the company any more.
    may_pay: bool | None


KEEP = sql(
    "INSERT INTO transfers (id, requested_by, request_id, company_id, payer_account_id,"
    " payee_account_id, pix_key, minor_units, currency, description, created_at_us,"
    " scheduled_for_us, status, failure_reason, end_to_end_id, supplier_id, payee_name)"
    " VALUES (:id, :requested_by, :request_id, :company, :payer, :payee, :pix_key, :amount,"
    " :currency, :description, :created_at_us, :scheduled_for_us, :status, '', '', :supplier,"
    " :payee_name)"
    " ON CONFLICT (requested_by, request_id) DO NOTHING"
)
LOAD = sql("SELECT * FROM transfers WHERE id = :id")
REPEATED = sql("SELECT * FROM transfers WHERE requested_by = :user AND request_id = :request_id")
GET = sql(
    "SELECT transfers.* FROM transfers JOIN memberships USING (company_id)"
    " WHERE transfers.id = :id AND user_id = :user AND may_pay IS NOT NULL"
)
PAGE = sql(
    "SELECT * FROM transfers WHERE id < :before AND company_id IN"
    " (SELECT company_id FROM memberships WHERE user_id = :user AND may_pay IS NOT NULL)"
    " ORDER BY id DESC LIMIT :size"
)
BEGIN = sql("UPDATE transfers SET status = 'pending' WHERE id = :id AND status <> 'cancelled'")
CANCEL = sql("UPDATE transfers SET status = 'cancelled' WHERE id = :id AND status = 'scheduled'")
SENT = sql("UPDATE transfers SET end_to_end_id = :end_to_end_id WHERE id = :id")
END = sql(
    "UPDATE transfers SET status = :status, failure_reason = :reason WHERE id = :id RETURNING *"
)

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
    "INSERT INTO memberships (user_id, company_id, may_pay) VALUES (:user, :company, :may_pay)"
    " ON CONFLICT (user_id, company_id) DO UPDATE SET may_pay = excluded.may_pay"
)


async def accept(
    work: UnitOfWork,
    asked: Transfer,
    learned: Iterable[Account] = (),
    supplier: Supplier | None = None,
) -> tuple[Transfer, bool]:
    """Keeps a transfer and starts it, or finds the one that was asked for before.

    `supplier` is given for a transfer to one. Tells the transfer, and whether it is new.
    """
    for account in learned:
        await learn(work, account, asked.requested_by)
    accounts = await accounts_of(work, asked)
    refusal = asked.refusal(accounts, supplier)
    if refusal is None and await keep(work, asked, accounts[asked.payer].company_id):
        return asked, True
    earlier = await repeated(work, asked)
    if earlier is None:
        raise refusal or LookupError("a transfer was known, and is gone")
    return earlier, False


async def repeated(work: UnitOfWork, asked: Transfer) -> Transfer | None:
    """Finds the transfer that was asked for before with the same request id, if any."""
    row = await work.fetch_one(REPEATED, user=asked.requested_by, request_id=asked.request_id)
    if row is None:
        return None
    earlier = to_transfer(row)
    asked.must_repeat(earlier)
    return earlier


async def keep(work: UnitOfWork, transfer: Transfer, company_id: str) -> bool:
    """Keeps and starts a transfer, unless its request was kept before."""
    kept = await work.execute(
        KEEP,
        id=transfer.id,
        requested_by=transfer.requested_by,
        request_id=transfer.request_id,
        company=company_id,
        payer=transfer.payer,
        payee=transfer.payee,
        pix_key=transfer.pix_key,
        amount=transfer.amount.minor_units,
        currency=transfer.amount.currency,
        description=transfer.description,
        created_at_us=transfer.created_at_us,
        scheduled_for_us=transfer.scheduled_for_us,
        status=transfer.status,
        supplier=transfer.supplier_id,
        payee_name=transfer.payee_name,
    )
    if kept:
        due_us = transfer.scheduled_for_us or 0
        work.start(MOVE_MONEY, transfer.id, at_us=due_us, entity=transfer)
        work.publish(created(transfer))
    return kept > 0


async def begin(work: UnitOfWork, transfer: Transfer) -> None:
    """Lets a scheduled transfer begin; from here it cannot be cancelled."""
    if not await work.execute(BEGIN, id=transfer.id):
        raise FailedPrecondition("TRANSFER_CANCELLED", "The transfer was cancelled.")


async def cancel(work: UnitOfWork, transfer_id: str, user_id: str) -> Transfer:
    """Cancels a transfer that has not begun."""
    transfer = await get(work, transfer_id, user_id)
    if transfer.status is not Status.CANCELLED:
        transfer = transfer.cancelled()
        # The guard is for the moment in which the transfer begins.
        if not await work.execute(CANCEL, id=transfer_id):
            raise FailedPrecondition("TRANSFER_BEGUN", "The transfer has begun.")
        work.publish(
            events.TransferCancelled(transfer_id=transfer.id, requested_by=transfer.requested_by)
        )
    return transfer


async def note_sent(work: UnitOfWork, transfer_id: str, end_to_end_id: str) -> None:
    await work.execute(SENT, id=transfer_id, end_to_end_id=end_to_end_id)


async def load(work: UnitOfWork, transfer_id: str) -> Transfer:
    return must_exist(await work.fetch_one(LOAD, id=transfer_id))


async def finish(work: UnitOfWork, transfer: Transfer) -> Transfer:
    """Keeps how a transfer ended, and tells it. A cancelled one has ended before."""
    if transfer.status is Status.CANCELLED:
        return transfer
    row = await work.fetch_one(
        END, id=transfer.id, status=transfer.status, reason=transfer.failure_reason
    )
    kept = must_exist(row)
    work.publish(ended(kept))
    return kept


async def get(work: UnitOfWork, transfer_id: str, user_id: str) -> Transfer:
    """Reads a transfer of one of the user's companies."""
    return must_exist(await work.fetch_one(GET, id=transfer_id, user=user_id))


async def page(work: UnitOfWork, user_id: str, before: str, size: int) -> list[Transfer]:
    """Reads transfers of the user's companies, the newest first."""
    return [
        to_transfer(row)
        for row in await work.fetch_all(PAGE, user=user_id, before=before, size=size)
    ]


async def accounts_of(work: UnitOfWork, transfer: Transfer) -> dict[str, Account]:
    rows = await work.fetch_all(
        ACCOUNTS, user=transfer.requested_by, payer=transfer.payer, payee=transfer.payee
    )
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


async def set_member(work: UnitOfWork, user_id: str, company_id: str, may_pay: bool | None) -> None:
    """Keeps what a user may do; None for no part any more, which no late answer undoes."""
    await work.execute(MEMBER, user=user_id, company=company_id, may_pay=may_pay)


def must_exist(row: Row | None) -> Transfer:
    if row is None:
        raise NotFound("TRANSFER_NOT_FOUND", "There is no such transfer.")
    return to_transfer(row)


def to_transfer(row: Row) -> Transfer:
    return Transfer(
        id=row["id"],
        requested_by=row["requested_by"],
        request_id=row["request_id"],
        payer=row["payer_account_id"],
        payee=row["payee_account_id"],
        pix_key=row["pix_key"],
        amount=Money(row["minor_units"], row["currency"]),
        description=row["description"],
        created_at_us=row["created_at_us"],
        scheduled_for_us=row["scheduled_for_us"],
        status=Status(row["status"]),
        failure_reason=row["failure_reason"],
        end_to_end_id=row["end_to_end_id"],
        supplier_id=row["supplier_id"],
        payee_name=row["payee_name"],
    )


def to_account(row: Row) -> Account:
    may_pay = row["may_pay"]
    return Account(
        id=row["id"],
        company_id=row["company_id"],
        currency=row["currency"],
        is_open=bool(row["is_open"]),
        may_pay=None if may_pay is None else bool(may_pay),
    )


def created(transfer: Transfer) -> events.TransferCreated:
    when = transfer.scheduled_for_us
    return events.TransferCreated(
        transfer_id=transfer.id,
        payer_account_id=transfer.payer,
        payee_account_id=transfer.payee,
        amount=wire.to_wire(transfer.amount),
        requested_by=transfer.requested_by,
        scheduled_for=None if when is None else wire.timestamp(when),
        supplier_id=transfer.supplier_id,
    )


def ended(transfer: Transfer) -> events.TransferCompleted | events.TransferFailed:
    if transfer.status is Status.FAILED:
        return events.TransferFailed(
            transfer_id=transfer.id,
            payer_account_id=transfer.payer,
            amount=wire.to_wire(transfer.amount),
            requested_by=transfer.requested_by,
            failure_reason=transfer.failure_reason,
        )
    return events.TransferCompleted(
        transfer_id=transfer.id,
        payer_account_id=transfer.payer,
        payee_account_id=transfer.payee,
        amount=wire.to_wire(transfer.amount),
        requested_by=transfer.requested_by,
        end_to_end_id=transfer.end_to_end_id,
    )
