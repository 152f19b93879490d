"""The tables of the ledger, as their migrations leave them, and what their rows mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Index,
    LargeBinary,
    MetaData,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel

from mesh.db import Row
from services.money import Money

from .domain.books import Answer, Entry, Hold, HoldStatus, Line, Posting
from .domain.chart import Account, Kind


class Table(SQLModel):
    """The base of this service's tables."""

    metadata: ClassVar[MetaData] = MetaData()


class AccountRow(Table, table=True):
    __tablename__ = "accounts"
    __table_args__ = (
        UniqueConstraint("company_id", name="accounts_company"),
        CheckConstraint("balance - held >= floor", name="accounts_floor"),
        CheckConstraint("balance <= ceiling", name="accounts_ceiling"),
        CheckConstraint("held >= 0", name="accounts_held"),
        CheckConstraint("held = 0 OR kind = 'customer'", name="accounts_holds"),
        CheckConstraint("status IN ('open', 'closed')", name="accounts_status"),
        CheckConstraint("status = 'open' OR kind = 'customer'", name="accounts_ends"),
        CheckConstraint(
            "kind IN ('customer', 'clearing', 'fees', 'treasury')", name="accounts_kind"
        ),
        CheckConstraint("(kind = 'customer') = (company_id IS NOT NULL)", name="accounts_owner"),
    )

    id: str = Field(primary_key=True, max_length=36)
    # Null for the accounts of the bank itself.
    company_id: str | None = Field(max_length=36)
    currency: str = Field(max_length=3)
    balance: int = Field(sa_type=BigInteger)
    held: int = Field(sa_type=BigInteger)
    floor: int = Field(sa_type=BigInteger)
    version: int = Field(sa_type=BigInteger)
    status: str = Field(max_length=6)
    opened_at_us: int = Field(sa_type=BigInteger)
    kind: str = Field(max_length=8)
    ceiling: int = Field(sa_type=BigInteger)
    # Empty, debits, credits, or both.
    blocked: str = Field(max_length=14)
    block_reason: str = Field(max_length=140)
    # Those of the last posting.
    posted_at_us: int = Field(sa_type=BigInteger)
    seal: bytes = Field(sa_type=LargeBinary)


class EntryRow(Table, table=True):
    """The answer to an entry: posted, or refused for a reason. Append-only."""

    __tablename__ = "entries"
    __table_args__ = (
        Index(
            "entries_reverses",
            "reverses",
            unique=True,
            sqlite_where=text("refused = '' AND reverses IS NOT NULL"),
            postgresql_where=text("refused = '' AND reverses IS NOT NULL"),
        ),
    )

    id: str = Field(primary_key=True, max_length=36)
    transfer_id: str = Field(max_length=36)
    description: str = Field(max_length=140)
    counterparty: str = Field(max_length=140)
    fingerprint: str = Field(max_length=32)
    refused: str = Field(max_length=32)
    posted_at_us: int = Field(sa_type=BigInteger)
    reverses: str | None = Field(max_length=36)


class PostingRow(Table, table=True):
    """A line of an account. Append-only. `seal` covers it and all lines before it."""

    __tablename__ = "postings"
    __table_args__ = (
        CheckConstraint("minor_units <> 0", name="postings_amount"),
        Index("postings_entry", "entry_id"),
    )

    account_id: str = Field(primary_key=True, max_length=36)
    version: int = Field(primary_key=True, sa_type=BigInteger)
    entry_id: str = Field(max_length=36)
    minor_units: int = Field(sa_type=BigInteger)
    currency: str = Field(max_length=3)
    balance_after: int = Field(sa_type=BigInteger)
    # The other side as a statement shows it.
    counterparty: str = Field(max_length=140)
    seal: bytes = Field(sa_type=LargeBinary)


class HoldRow(Table, table=True):
    """Funds set aside; a hold that was released before it came has neither account nor amount."""

    __tablename__ = "holds"
    __table_args__ = (
        CheckConstraint("status IN ('open', 'posted', 'released')", name="holds_status"),
        CheckConstraint("minor_units > 0 OR status = 'released'", name="holds_amount"),
        Index("holds_account", "account_id"),
        Index(
            "holds_expiring",
            "expires_at_us",
            sqlite_where=text("status = 'open' AND expires_at_us > 0"),
            postgresql_where=text("status = 'open' AND expires_at_us > 0"),
        ),
    )

    id: str = Field(primary_key=True, max_length=36)
    account_id: str = Field(max_length=36)
    minor_units: int = Field(sa_type=BigInteger)
    currency: str = Field(max_length=3)
    status: str = Field(max_length=8)
    expires_at_us: int = Field(sa_type=BigInteger, sa_column_kwargs={"server_default": "0"})


class MembershipRow(Table, table=True):
    """What a user may do for a company: this service's copy."""

    __tablename__ = "memberships"

    user_id: str = Field(primary_key=True, max_length=36)
    company_id: str = Field(primary_key=True, max_length=36)
    role: str = Field(max_length=16)


def to_account(row: Row) -> Account:
    return Account(
        id=row["id"],
        company_id=row["company_id"] or "",
        kind=Kind(row["kind"]),
        currency=row["currency"],
        balance=row["balance"],
        held=row["held"],
        floor=row["floor"],
        ceiling=row["ceiling"],
        version=row["version"],
        is_open=row["status"] == "open",
        debits_blocked="debits" in row["blocked"],
        credits_blocked="credits" in row["blocked"],
        block_reason=row["block_reason"],
        seal=row["seal"],
        posted_at_us=row["posted_at_us"],
    )


def account_row(account: Account) -> dict[str, object]:
    ways = ("debits", account.debits_blocked), ("credits", account.credits_blocked)
    return {
        "id": account.id,
        "balance": account.balance,
        "held": account.held,
        "floor": account.floor,
        "ceiling": account.ceiling,
        "version": account.version,
        "status": "open" if account.is_open else "closed",
        "blocked": " ".join(way for way, is_blocked in ways if is_blocked),
        "reason": account.block_reason,
        "at_us": account.posted_at_us,
        "seal": account.seal,
    }


def to_entry(row: Row, postings: Sequence[Posting]) -> Entry:
    return Entry(
        id=row["id"],
        postings=postings,
        transfer=row["transfer_id"],
        description=row["description"],
        counterparty=row["counterparty"],
        reverses=row["reverses"] or "",
    )


def entry_row(entry: Entry, answer: Answer) -> dict[str, object]:
    return {
        "id": entry.id,
        "transfer": entry.transfer,
        "description": entry.description,
        "counterparty": entry.counterparty,
        "fingerprint": answer.fingerprint,
        "refused": answer.refusal,
        "at_us": answer.posted_at_us,
        "reverses": entry.reverses or None,
    }


def to_line(row: Row) -> Line:
    return Line(
        account=row["account_id"],
        version=row["version"],
        entry_id=row["entry_id"],
        transfer=row["transfer_id"],
        amount=Money(row["minor_units"], row["currency"]),
        balance=row["balance_after"],
        counterparty=row["counterparty"],
        description=row["description"],
        posted_at_us=row["posted_at_us"],
        reverses=row["reverses"] or "",
        seal=row["seal"],
    )


def line_row(line: Line) -> dict[str, object]:
    return {
        "account": line.account,
        "version": line.version,
        "entry": line.entry_id,
        "amount": line.amount.minor_units,
        "currency": line.amount.currency,
        "balance": line.balance,
        "counterparty": line.counterparty,
        "seal": line.seal,
    }


def to_hold(row: Row) -> Hold:
    return Hold(
        id=row["id"],
        account=row["account_id"],
        amount=Money(row["minor_units"], row["currency"]),
        status=HoldStatus(row["status"]),
        expires_at_us=row["expires_at_us"],
    )


def hold_row(hold: Hold) -> dict[str, object]:
    return {
        "id": hold.id,
        "account": hold.account,
        "amount": hold.amount.minor_units,
        "currency": hold.amount.currency,
        "status": hold.status,
        "expires_at": hold.expires_at_us,
    }
