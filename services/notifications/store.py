"""Where messages, e-mails and the copy of who owns an account are kept."""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Index, MetaData, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

from mesh.db import Row, UnitOfWork, sql
from mesh.errors import Transient
from mesh.events import webhooks

from . import domain
from .domain import Kind, Mail, Message, Status


class Table(SQLModel):
    """The base of this service's tables."""

    metadata: ClassVar[MetaData] = MetaData()


class MessageRow(Table, table=True):
    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("event_id", name="messages_event"),
        CheckConstraint("status IN ('pending', 'sent', 'undeliverable')", name="messages_status"),
        Index("messages_user", "user_id", "id"),
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
    # The default is for the rows that were there before the column.
    ticket_id: str = Field(sa_type=Text, sa_column_kwargs={"server_default": ""})


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

    user_id: str = Field(primary_key=True, sa_type=Text)
    company_id: str = Field(primary_key=True, sa_type=Text)
    role: str = Field(sa_type=Text)


ADD_MESSAGE = sql(
    "INSERT INTO messages"
    " (id, event_id, user_id, kind, subject, body, transfer_id, created_at_us, status, ticket_id)"
    " VALUES (:id, :event, :user, :kind, :subject, :body, :transfer, :created_at, :status, :ticket)"
    " ON CONFLICT (event_id) DO NOTHING"
)
MESSAGE = sql("SELECT * FROM messages WHERE id = :id")
SET_STATUS = sql("UPDATE messages SET status = :status WHERE id = :id")
MESSAGES_OF = sql(
    "SELECT * FROM messages WHERE user_id = :user"
    " AND kind NOT IN ('CONFIRMATION', 'PASSWORD_RESET', 'INVITATION') ORDER BY id DESC LIMIT :size"
)

# An e-mail that is written again carries another code, and the earlier one is good for nothing.
KEEP_MAIL = sql(
    "INSERT INTO mails"
    " (id, message_id, kind, to_address, to_key, subject, body, code, sent_at_us)"
    " VALUES (:id, :message, :kind, :to, :to_key, :subject, :body, :code, :sent_at)"
    " ON CONFLICT (message_id) DO UPDATE SET body = excluded.body, code = excluded.code"
)
MAILS_TO = sql("SELECT * FROM mails WHERE to_key = :to_key ORDER BY id DESC LIMIT :size")

FORGET_MAILS = sql(
    "DELETE FROM mails WHERE message_id IN (SELECT id FROM messages WHERE user_id = :user)"
)
FORGET_MESSAGES = sql("DELETE FROM messages WHERE user_id = :user AND status <> 'pending'")

ADD_OWNER = sql(
    "INSERT INTO owners (account_id, user_id) VALUES (:account, :user)"
    " ON CONFLICT (account_id) DO NOTHING"
)
OWNER = sql("SELECT user_id FROM owners WHERE account_id = :account")

ADD_COMPANY_ACCOUNT = sql(
    "INSERT INTO account_companies (account_id, company_id) VALUES (:account, :company)"
    " ON CONFLICT (account_id) DO NOTHING"
)
COMPANY = sql("SELECT company_id FROM account_companies WHERE account_id = :account")
SET_ROLE = sql(
    "INSERT INTO members (user_id, company_id, role) VALUES (:user, :company, :role)"
    " ON CONFLICT (user_id, company_id) DO UPDATE SET role = excluded.role"
)
ROLES = sql("SELECT company_id, role FROM members WHERE user_id = :user AND role <> ''")


async def send(work: UnitOfWork, message: Message) -> None:
    """Keeps a message, and starts its delivery, unless its event was told already."""
    added = await work.execute(
        ADD_MESSAGE,
        id=message.id,
        event=message.event_id,
        user=message.user_id,
        kind=message.kind.value,
        subject=message.subject,
        body=message.body,
        transfer=message.transfer_id,
        ticket=message.ticket_id,
        created_at=message.created_at_us,
        status=message.status.value,
    )
    if added:
        work.start("deliver", message.id, entity=message)


async def get_message(work: UnitOfWork, message_id: str) -> Message:
    row = await work.fetch_one(MESSAGE, id=message_id)
    assert row is not None, "a message is never removed"
    return to_message(row)


async def end(work: UnitOfWork, message: Message) -> Message:
    await work.execute(SET_STATUS, id=message.id, status=message.status.value)
    return message


async def messages_of(work: UnitOfWork, user_id: str, size: int) -> list[Message]:
    """Lists what a user was told, the newest first: ids grow with time."""
    rows = await work.fetch_all(MESSAGES_OF, user=user_id, size=size)
    return [to_message(row) for row in rows]


async def keep_mail(work: UnitOfWork, mail: Mail) -> None:
    """Puts an e-mail into the mailbox, in place of an earlier one about the same message."""
    await work.execute(
        KEEP_MAIL,
        id=mail.id,
        message=mail.message_id,
        kind=mail.kind.value,
        to=mail.to,
        to_key=fold(mail.to),
        subject=mail.subject,
        body=mail.body,
        code=mail.code,
        sent_at=mail.sent_at_us,
    )


async def forget(work: UnitOfWork, user_id: str) -> None:
    """Forgets what an erased user was told. What still waits finds nobody, and ends by itself."""
    await work.execute(FORGET_MAILS, user=user_id)
    await work.execute(FORGET_MESSAGES, user=user_id)


async def mails_to(work: UnitOfWork, address: str, size: int) -> list[Mail]:
    rows = await work.fetch_all(MAILS_TO, to_key=fold(address), size=size)
    return [to_mail(row) for row in rows]


async def add_owner(work: UnitOfWork, account_id: str, user_id: str) -> None:
    await work.execute(ADD_OWNER, account=account_id, user=user_id)


async def owner_of(work: UnitOfWork, account_id: str) -> str:
    """Gets an account's owner. Raises `Transient` when the account is not known here yet."""
    row = await work.fetch_one(OWNER, account=account_id)
    if row is None:
        raise Transient("ACCOUNT_NOT_KNOWN_YET", "Nothing was heard of the account yet.")
    owner: str = row["user_id"]
    return owner


async def add_account(work: UnitOfWork, account_id: str, company_id: str) -> None:
    await work.execute(ADD_COMPANY_ACCOUNT, account=account_id, company=company_id)


async def company_of(work: UnitOfWork, account_id: str) -> str:
    """Gets an account's company; empty for an account of the bank's own, or one not known yet."""
    row = await work.fetch_one(COMPANY, account=account_id)
    return "" if row is None else str(row["company_id"])


async def known_company_of(work: UnitOfWork, account_id: str) -> str:
    """Gets a customer's company. Raises `Transient` when the account is not known here yet."""
    company_id = await company_of(work, account_id)
    if not company_id:
        raise Transient("ACCOUNT_NOT_KNOWN_YET", "Nothing was heard of the account yet.")
    return company_id


async def set_role(work: UnitOfWork, user_id: str, company_id: str, role: str) -> None:
    await work.execute(SET_ROLE, user=user_id, company=company_id, role=role)


async def roles_of(work: UnitOfWork, user_id: str) -> dict[str, str]:
    """Reads what a user may do, by company."""
    return {row["company_id"]: row["role"] for row in await work.fetch_all(ROLES, user=user_id)}


async def owned(work: UnitOfWork, webhook_id: str, user_id: str) -> webhooks.Webhook:
    """Finds a webhook of one of the user's companies. Raises `NotFound`, `PermissionDenied`."""
    webhook = await webhooks.get(work, webhook_id)
    domain.must_own(await roles_of(work, user_id), webhook.owner)
    return webhook


def fold(address: str) -> str:
    return address.strip().lower()


def to_message(row: Row) -> Message:
    return Message(
        id=row["id"],
        event_id=row["event_id"],
        user_id=row["user_id"],
        kind=Kind(row["kind"]),
        subject=row["subject"],
        body=row["body"],
        transfer_id=row["transfer_id"],
        ticket_id=row["ticket_id"],
        created_at_us=row["created_at_us"],
        status=Status(row["status"]),
    )


def to_mail(row: Row) -> Mail:
    return Mail(
        id=row["id"],
        message_id=row["message_id"],
        kind=Kind(row["kind"]),
        to=row["to_address"],
        subject=row["subject"],
        body=row["body"],
        code=row["code"],
        sent_at_us=row["sent_at_us"],
    )
