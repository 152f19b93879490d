"""The tables of messages, e-mails, what people want, and the copies of what others own."""

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
    true,
)
from sqlmodel import Field, SQLModel


class Table(SQLModel):
    """The base of this service's tables."""

    metadata: ClassVar[MetaData] = MetaData()


class MessageRow(Table, table=True):
    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("event_id", "user_id", name="messages_event"),
        CheckConstraint("status IN ('pending', 'sent', 'undeliverable')", name="messages_status"),
        Index("messages_user", "user_id", "id"),
        Index("messages_digest", "user_id", "digest_at_us"),
    )

    id: str = Field(primary_key=True, sa_type=Text)
    event_id: str = Field(sa_type=Text)
    user_id: str = Field(sa_type=Text)
    kind: str = Field(sa_type=Text)
    subject: str = Field(sa_type=Text)
    body: str = Field(sa_type=Text)
    transfer_id: str = Field(sa_type=Text)
    created_at_us: int = Field(sa_type=BigInteger)
    status: str = Field(sa_type=Text)
    # The defaults are for the rows that were there before the columns.
    ticket_id: str = Field(sa_type=Text, sa_column_kwargs={"server_default": ""})
    language: str = Field(sa_type=Text, sa_column_kwargs={"server_default": "pt-BR"})
    in_app: bool = Field(sa_type=Boolean, sa_column_kwargs={"server_default": true()})
    by_mail: bool = Field(sa_type=Boolean, sa_column_kwargs={"server_default": true()})
    digest_at_us: int | None = Field(sa_type=BigInteger)
    read_at_us: int | None = Field(sa_type=BigInteger)


class MailRow(Table, table=True):
    """An e-mail in the development mailbox; `to_key` is its address, folded."""

    __tablename__ = "mails"
    __table_args__ = (
        UniqueConstraint("message_id", name="mails_message"),
        Index("mails_to", "to_key", "id"),
    )

    id: str = Field(primary_key=True, sa_type=Text)
    message_id: str = Field(sa_type=Text, foreign_key="messages.id")
    kind: str = Field(sa_type=Text)
    to_address: str = Field(sa_type=Text)
    to_key: str = Field(sa_type=Text)
    subject: str = Field(sa_type=Text)
    body: str = Field(sa_type=Text)
    code: str = Field(sa_type=Text)
    sent_at_us: int = Field(sa_type=BigInteger)


class PreferencesRow(Table, table=True):
    """What a user wants to be told; `kinds` is what is not as usual, as JSON."""

    __tablename__ = "preferences"

    user_id: str = Field(primary_key=True, sa_type=Text)
    language: str = Field(sa_type=Text)
    digest_hour: int = Field(sa_type=Integer)
    kinds: str = Field(sa_type=Text)


class ScheduledRow(Table, table=True):
    """A transfer that waits for its time: who asked is told of it in other words if it fails."""

    __tablename__ = "scheduled_transfers"

    transfer_id: str = Field(primary_key=True, sa_type=Text)
    scheduled_for_us: int = Field(sa_type=BigInteger)


class OwnerRow(Table, table=True):
    __tablename__ = "owners"

    account_id: str = Field(primary_key=True, sa_type=Text)
    user_id: str = Field(sa_type=Text)


class AccountCompanyRow(Table, table=True):
    __tablename__ = "account_companies"

    account_id: str = Field(primary_key=True, sa_type=Text)
    company_id: str = Field(sa_type=Text)


class MemberRow(Table, table=True):
    """What a user may do for a company; the role is empty when it is nothing any more."""

    __tablename__ = "members"
    __table_args__ = (Index("members_company", "company_id", "role"),)

    user_id: str = Field(primary_key=True, sa_type=Text)
    company_id: str = Field(primary_key=True, sa_type=Text)
    role: str = Field(sa_type=Text)


class ForgottenRow(Table, table=True):
    """Who was erased: what was on its way to them is not kept."""

    __tablename__ = "forgotten"

    user_id: str = Field(primary_key=True, sa_type=Text)
