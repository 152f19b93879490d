"""The tables of this service, as they are read; the migrations make them."""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Index, MetaData, UniqueConstraint
from sqlmodel import Field, SQLModel

# For the rows that were there before the column.
EMPTY = {"server_default": ""}
NOTHING = {"server_default": "0"}
FIRST = {"server_default": "1"}


class Table(SQLModel):
    """The base of this service's tables."""

    metadata: ClassVar[MetaData] = MetaData()


class TransferRow(Table, table=True):
    """A transfer. `refunding` is what refunds take of it, `returned` what has come back."""

    __tablename__ = "transfers"
    __table_args__ = (
        UniqueConstraint("requested_by", "request_id", name="transfers_request"),
        CheckConstraint("minor_units > 0", name="transfers_amount"),
        CheckConstraint("(payee_account_id = '') <> (pix_key = '')", name="transfers_payee"),
        CheckConstraint("fee >= 0", name="transfers_fee"),
        CheckConstraint("refunding BETWEEN 0 AND minor_units", name="transfers_refunds"),
        CheckConstraint("returned BETWEEN 0 AND minor_units", name="transfers_returned"),
        CheckConstraint("decided_by <> requested_by", name="transfers_four_eyes"),
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
    fee: int = Field(sa_type=BigInteger, sa_column_kwargs=NOTHING)
    refunding: int = Field(sa_type=BigInteger, sa_column_kwargs=NOTHING)
    returned: int = Field(sa_type=BigInteger, sa_column_kwargs=NOTHING)
    decided_by: str = Field(max_length=36, sa_column_kwargs=EMPTY)
    approval_expires_us: int | None = Field(sa_type=BigInteger)
    counted_at_us: int | None = Field(sa_type=BigInteger)
    refund_of: str = Field(max_length=36, sa_column_kwargs=EMPTY)
    recurring_id: str = Field(max_length=36, sa_column_kwargs=EMPTY)
    batch_id: str = Field(max_length=36, sa_column_kwargs=EMPTY)
    version: int = Field(sa_type=BigInteger, sa_column_kwargs=FIRST)


class AccountRow(Table, table=True):
    """A copy of what accounts tells."""

    __tablename__ = "accounts"

    id: str = Field(primary_key=True, max_length=36)
    company_id: str = Field(max_length=36)
    currency: str = Field(max_length=3)
    is_open: bool


class MembershipRow(Table, table=True):
    """A copy of what users tells. `may_pay` is null when the user has no part in it any more."""

    __tablename__ = "memberships"

    user_id: str = Field(primary_key=True, max_length=36)
    company_id: str = Field(primary_key=True, max_length=36)
    may_pay: bool | None
    role: str = Field(max_length=16, sa_column_kwargs=EMPTY)


class TermRow(Table, table=True):
    """A limit or a fee of a company, of a user, or, of the subject `''`, of all without their own.

    A limit becomes `next_minor_units` at `next_from_us`; null when no change is on its way.
    """

    __tablename__ = "terms"
    __table_args__ = (
        CheckConstraint("minor_units >= 0", name="terms_amount"),
        CheckConstraint("(next_minor_units IS NULL) = (next_from_us IS NULL)", name="terms_change"),
    )

    subject_id: str = Field(primary_key=True, max_length=36)
    kind: str = Field(primary_key=True, max_length=32)
    minor_units: int = Field(sa_type=BigInteger)
    basis_points: int = Field(sa_column_kwargs=NOTHING)
    next_minor_units: int | None = Field(sa_type=BigInteger)
    next_from_us: int | None = Field(sa_type=BigInteger)


class UsageRow(Table, table=True):
    """What a company's transfers of a day or a night come to, and what they were allowed to."""

    __tablename__ = "usage"
    __table_args__ = (CheckConstraint("used BETWEEN 0 AND allowed", name="usage_allowed"),)

    company_id: str = Field(primary_key=True, max_length=36)
    period: str = Field(primary_key=True, max_length=16)
    used: int = Field(sa_type=BigInteger)
    allowed: int = Field(sa_type=BigInteger)


class RecurringRow(Table, table=True):
    """A transfer that repeats. `slot` and `next_at_us` are of the next occurrence."""

    __tablename__ = "recurring"
    __table_args__ = (
        UniqueConstraint("requested_by", "request_id", name="recurring_request"),
        CheckConstraint("minor_units > 0", name="recurring_amount"),
        CheckConstraint("status IN ('active', 'ended', 'cancelled')", name="recurring_status"),
        Index("recurring_company", "company_id", "id"),
    )

    id: str = Field(primary_key=True, max_length=36)
    requested_by: str = Field(max_length=36)
    request_id: str = Field(max_length=255)
    company_id: str = Field(max_length=36)
    payer_account_id: str = Field(max_length=36)
    payee_account_id: str = Field(max_length=36)
    pix_key: str = Field(max_length=77)
    supplier_id: str = Field(max_length=36)
    payee_name: str = Field(max_length=140)
    minor_units: int = Field(sa_type=BigInteger)
    currency: str = Field(max_length=3)
    description: str = Field(max_length=140)
    created_at_us: int = Field(sa_type=BigInteger)
    frequency: str = Field(max_length=8)
    month_end: str = Field(max_length=8)
    starts_at_us: int = Field(sa_type=BigInteger)
    ends_at_us: int | None = Field(sa_type=BigInteger)
    count: int
    status: str = Field(max_length=16)
    slot: int
    next_at_us: int | None = Field(sa_type=BigInteger)
    occurred: int


class BatchRow(Table, table=True):
    """A file of transfers; `digest` tells it apart from another."""

    __tablename__ = "batches"
    __table_args__ = (
        UniqueConstraint("requested_by", "request_id", name="batches_request"),
        Index("batches_company", "company_id", "id"),
    )

    id: str = Field(primary_key=True, max_length=36)
    requested_by: str = Field(max_length=36)
    request_id: str = Field(max_length=255)
    company_id: str = Field(max_length=36)
    payer_account_id: str = Field(max_length=36)
    created_at_us: int = Field(sa_type=BigInteger)
    digest: str = Field(max_length=64)
    lines: int


class BatchLineRow(Table, table=True):
    """A line of a batch. It becomes a transfer in the transaction that accepts the transfer."""

    __tablename__ = "batch_lines"
    __table_args__ = (
        CheckConstraint("status IN ('pending', 'accepted', 'refused')", name="batch_lines_status"),
    )

    batch_id: str = Field(primary_key=True, max_length=36)
    line: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    payee_account_id: str = Field(max_length=36)
    pix_key: str = Field(max_length=77)
    supplier_id: str = Field(max_length=36)
    minor_units: int = Field(sa_type=BigInteger)
    currency: str = Field(max_length=3)
    description: str = Field(max_length=140)
    status: str = Field(max_length=8)
    reason: str = Field(max_length=64)
    message: str = Field(max_length=255)
    transfer_id: str = Field(max_length=36)
