"""The tables of the ledger, as their migrations leave them."""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Index, MetaData, UniqueConstraint, text
from sqlmodel import Field, SQLModel


class Table(SQLModel):
    """The base of this service's tables."""

    metadata: ClassVar[MetaData] = MetaData()


class AccountRow(Table, table=True):
    __tablename__ = "accounts"
    __table_args__ = (
        UniqueConstraint("company_id", name="accounts_company"),
        CheckConstraint("balance - held >= floor", name="accounts_floor"),
        CheckConstraint("held >= 0", name="accounts_held"),
        CheckConstraint("status IN ('open', 'closed')", name="accounts_status"),
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
    """A line of an account. Append-only."""

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
