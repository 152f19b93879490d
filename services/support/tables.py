"""The tables of tickets, and of the copies of what others own."""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Index,
    Integer,
    MetaData,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlmodel import Field, SQLModel


class Table(SQLModel):
    """The base of this service's tables."""

    metadata: ClassVar[MetaData] = MetaData()


class TicketRow(Table, table=True):
    """A ticket; `last_events` is what had last happened on the user's accounts, as JSON."""

    __tablename__ = "tickets"
    __table_args__ = (
        UniqueConstraint("opened_by", "request_id", name="tickets_request"),
        CheckConstraint("status IN ('open', 'answered', 'resolved')", name="tickets_status"),
        CheckConstraint("priority BETWEEN 1 AND 3", name="tickets_priority"),
        Index("tickets_user", "opened_by", "id"),
        Index("tickets_queue", "status", "priority", "answer_due_us"),
    )

    id: str = Field(primary_key=True, sa_type=Text)
    request_id: str = Field(sa_type=Text)
    opened_by: str = Field(sa_type=Text)
    subject: str = Field(sa_type=Text)
    description: str = Field(sa_type=Text)
    trace_id: str = Field(sa_type=Text)
    app_version: str = Field(sa_type=Text)
    account_id: str = Field(sa_type=Text)
    transfer_id: str = Field(sa_type=Text)
    last_events: str = Field(sa_type=Text)
    priority: int = Field(sa_type=Integer)
    status: str = Field(sa_type=Text)
    version: int = Field(sa_type=BigInteger)
    created_at_us: int = Field(sa_type=BigInteger)
    answer_due_us: int = Field(sa_type=BigInteger)
    first_answered_at_us: int | None = Field(sa_type=BigInteger)
    resolved_at_us: int | None = Field(sa_type=BigInteger)
    # The defaults are for the rows that were there before the columns.
    waits_since_us: int = Field(sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")})
    escalates_at_us: int | None = Field(sa_type=BigInteger)
    escalated_at_us: int | None = Field(sa_type=BigInteger)
    times_reopened: int = Field(sa_type=Integer, sa_column_kwargs={"server_default": text("0")})


class AnswerRow(Table, table=True):
    __tablename__ = "answers"
    __table_args__ = (UniqueConstraint("ticket_id", "request_id", name="answers_request"),)

    id: str = Field(primary_key=True, sa_type=Text)
    ticket_id: str = Field(sa_type=Text, foreign_key="tickets.id")
    request_id: str = Field(sa_type=Text)
    text: str = Field(sa_type=Text)
    created_at_us: int = Field(sa_type=BigInteger)
    from_customer: bool = Field(sa_type=Boolean, sa_column_kwargs={"server_default": false()})


class AccountRow(Table, table=True):
    __tablename__ = "accounts"

    account_id: str = Field(primary_key=True, sa_type=Text)
    company_id: str = Field(sa_type=Text)


class MembershipRow(Table, table=True):
    __tablename__ = "memberships"

    user_id: str = Field(primary_key=True, sa_type=Text)
    company_id: str = Field(primary_key=True, sa_type=Text)
    is_member: bool = Field(sa_type=Boolean)


class HappeningRow(Table, table=True):
    __tablename__ = "happenings"
    __table_args__ = (Index("happenings_account", "account_id", "at_us", "id"),)

    id: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(sa_type=Text)
    account_id: str = Field(sa_type=Text)
    at_us: int = Field(sa_type=BigInteger)
    transfer_id: str = Field(sa_type=Text)
    minor_units: int | None = Field(sa_type=BigInteger)
    currency: str = Field(sa_type=Text)
    reason: str = Field(sa_type=Text)


class UnderWayRow(Table, table=True):
    __tablename__ = "under_way"
    __table_args__ = (Index("under_way_account", "account_id"),)

    transfer_id: str = Field(primary_key=True, sa_type=Text)
    account_id: str = Field(sa_type=Text)
    since_us: int = Field(sa_type=BigInteger)
