"""Where messages, e-mails, what people want, and the copies of what others own are kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields

from mesh.clock import now_us
from mesh.db import Row, UnitOfWork, sql
from mesh.errors import Transient
from mesh.events import webhooks

from .domain import digest, messages
from .domain import webhooks as outside
from .domain.digest import Digest
from .domain.messages import Kind, Language, Mail, Message, Status
from .domain.preferences import Channels, Preferences

# The names of the sagas; they are stored.
DELIVER = "deliver"
SUMMARISE = "summarise"

ADD_MESSAGE = sql(
    "INSERT INTO messages (id, event_id, user_id, kind, subject, body, language, transfer_id,"
    " ticket_id, created_at_us, in_app, by_mail, digest_at_us, status) VALUES (:id, :event_id,"
    " :user_id, :kind, :subject, :body, :language, :transfer_id, :ticket_id, :created_at_us,"
    " :in_app, :by_mail, :digest_at_us, :status) ON CONFLICT (event_id, user_id) DO NOTHING"
)
MESSAGE = sql("SELECT * FROM messages WHERE id = :id")
SET_STATUS = sql("UPDATE messages SET status = :status WHERE id = :id")
MESSAGES_OF = sql(
    "SELECT * FROM messages WHERE user_id = :user AND in_app AND id < :before"
    " AND (NOT CAST(:unread AS boolean) OR read_at_us IS NULL) ORDER BY id DESC LIMIT :size"
)
UNREAD = sql(
    "SELECT COUNT(*) AS n FROM messages WHERE user_id = :user AND in_app AND read_at_us IS NULL"
)
READ = sql(
    "UPDATE messages SET read_at_us = COALESCE(read_at_us, :now)"
    " WHERE id = :id AND user_id = :user AND in_app"
)
READ_ALL = sql(
    "UPDATE messages SET read_at_us = :now WHERE user_id = :user AND in_app AND read_at_us IS NULL"
)
SUMMED_UP = sql(
    "SELECT * FROM messages WHERE user_id = :user AND digest_at_us = :at ORDER BY id LIMIT :most"
)
PREFERENCES = sql("SELECT * FROM preferences WHERE user_id = :user")
SET_PREFERENCES = sql(
    "INSERT INTO preferences (user_id, language, digest_hour, kinds)"
    " VALUES (:user, :language, :hour, :kinds) ON CONFLICT (user_id) DO UPDATE"
    " SET language = excluded.language, digest_hour = excluded.digest_hour, kinds = excluded.kinds"
)
FORGET_PREFERENCES = sql("DELETE FROM preferences WHERE user_id = :user")
SCHEDULE = sql(
    "INSERT INTO scheduled_transfers (transfer_id, scheduled_for_us) VALUES (:transfer, :at)"
    " ON CONFLICT (transfer_id) DO UPDATE SET scheduled_for_us = excluded.scheduled_for_us"
)
SCHEDULED = sql("SELECT scheduled_for_us FROM scheduled_transfers WHERE transfer_id = :transfer")
UNSCHEDULE = sql("DELETE FROM scheduled_transfers WHERE transfer_id = :transfer")

# An e-mail that is written again carries another code, and the earlier one is good for nothing.
KEEP_MAIL = sql(
    "INSERT INTO mails"
    " (id, message_id, kind, to_address, to_key, subject, body, code, sent_at_us)"
    " SELECT :id, :message, :kind, :to, :to_key, :subject, :body, :code,"
    " CAST(:sent_at AS BIGINT) WHERE NOT EXISTS (SELECT 1 FROM messages JOIN forgotten"
    " ON forgotten.user_id = messages.user_id WHERE messages.id = :message)"
    " ON CONFLICT (message_id) DO UPDATE SET body = excluded.body, code = excluded.code"
)
MAILS_TO = sql("SELECT * FROM mails WHERE to_key = :to_key ORDER BY id DESC LIMIT :size")

FORGET_MAILS = sql(
    "DELETE FROM mails WHERE message_id IN (SELECT id FROM messages WHERE user_id = :user)"
)
FORGET_FOR_GOOD = sql(
    "INSERT INTO forgotten (user_id) VALUES (:user) ON CONFLICT (user_id) DO NOTHING"
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
MEMBERS = sql("SELECT user_id, role FROM members WHERE company_id = :company AND role <> ''")
ROLES = sql("SELECT company_id, role FROM members WHERE user_id = :user AND role <> ''")


async def send(work: UnitOfWork, message: Message) -> None:
    """Keeps a message, and starts what is to become of it, unless the user was told already."""
    status = message.status if message.by_mail else Status.SENT
    added = await work.execute(
        ADD_MESSAGE,
        id=message.id,
        event_id=message.event_id,
        user_id=message.user_id,
        kind=message.kind.value,
        subject=message.subject,
        body=message.body,
        language=message.language.value,
        transfer_id=message.transfer_id,
        ticket_id=message.ticket_id,
        created_at_us=message.created_at_us,
        in_app=message.in_app,
        by_mail=message.by_mail,
        digest_at_us=message.digest_at_us,
        status=status.value,
    )
    if not added:
        return
    if message.by_mail:
        work.start(DELIVER, message.id, entity=message)
    if message.digest_at_us is not None:
        # Of all that a summary tells, the first starts it.
        at_us = message.digest_at_us
        work.start(SUMMARISE, Digest(message.user_id, at_us).id, at_us=at_us)


async def get_message(work: UnitOfWork, message_id: str) -> Message:
    row = await work.fetch_one(MESSAGE, id=message_id)
    assert row is not None, "a message that is not delivered is not removed"
    return to_message(row)


async def end(work: UnitOfWork, message: Message) -> Message:
    await work.execute(SET_STATUS, id=message.id, status=message.status.value)
    return message


async def load_digest(work: UnitOfWork, digest_id: str) -> Digest:
    return digest.digest_of(digest_id)


async def send_digest(work: UnitOfWork, asked: Digest) -> Digest:
    """Sends the summary of what waits for it, if anything still does."""
    rows = await work.fetch_all(
        SUMMED_UP, user=asked.user_id, at=asked.at_us, most=digest.MOST_TOLD
    )
    if rows:
        language = (await preferences_of(work, asked.user_id)).language
        told = [to_message(row) for row in rows]
        await send(work, digest.summary(asked, language, told, now_us()))
    return asked


async def messages_of(
    work: UnitOfWork, user_id: str, size: int, *, before: str, only_unread: bool
) -> tuple[list[Message], int]:
    """Lists what a user was told, the newest first; tells how many they have not read in all."""
    rows = await work.fetch_all(
        MESSAGES_OF, user=user_id, size=size, before=before, unread=only_unread
    )
    counted = await work.fetch_one(UNREAD, user=user_id)
    return [to_message(row) for row in rows], counted["n"] if counted else 0


async def mark_read(work: UnitOfWork, message_id: str, user_id: str, at_us: int) -> Message:
    """Notes that a user has read a message. Raises `NotFound` if it is none of theirs."""
    if not await work.execute(READ, id=message_id, user=user_id, now=at_us):
        raise messages.no_such_message()
    return await get_message(work, message_id)


async def mark_all_read(work: UnitOfWork, user_id: str, at_us: int) -> None:
    await work.execute(READ_ALL, user=user_id, now=at_us)


async def preferences_of(work: UnitOfWork, user_id: str) -> Preferences:
    row = await work.fetch_one(PREFERENCES, user=user_id)
    if row is None:
        return Preferences()
    kinds = json.loads(row["kinds"])
    return Preferences(
        language=Language(row["language"]),
        digest_hour=row["digest_hour"],
        kinds={Kind(kind): Channels(*channels) for kind, channels in kinds.items()},
    )


async def set_preferences(work: UnitOfWork, user_id: str, wanted: Preferences) -> None:
    await work.execute(
        SET_PREFERENCES,
        user=user_id,
        language=wanted.language.value,
        hour=wanted.digest_hour,
        kinds=json.dumps(wanted.kinds),
    )


async def note_scheduled(work: UnitOfWork, transfer_id: str, at_us: int) -> None:
    await work.execute(SCHEDULE, transfer=transfer_id, at=at_us)


async def end_scheduled(work: UnitOfWork, transfer_id: str) -> int | None:
    """Tells for when a transfer was scheduled that has ended. None: it was not."""
    row = await work.fetch_one(SCHEDULED, transfer=transfer_id)
    if row is None:
        return None
    await work.execute(UNSCHEDULE, transfer=transfer_id)
    at_us: int = row["scheduled_for_us"]
    return at_us


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
    """Forgets what an erased user was told. What still waits finds nobody, and ends by itself;
    what is on its way is not kept any more.
    """
    await work.execute(FORGET_FOR_GOOD, user=user_id)
    await work.execute(FORGET_MAILS, user=user_id)
    await work.execute(FORGET_MESSAGES, user=user_id)
    await work.execute(FORGET_PREFERENCES, user=user_id)


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


async def approvers_of(work: UnitOfWork, company_id: str) -> Sequence[str]:
    """Lists who may approve for a company. Raises `Transient` when it is not known here yet."""
    rows = await work.fetch_all(MEMBERS, company=company_id)
    if not rows:
        raise Transient("COMPANY_NOT_KNOWN_YET", "Nothing was heard of the company yet.")
    return [row["user_id"] for row in rows if row["role"] in outside.APPROVERS]


async def owned(work: UnitOfWork, webhook_id: str, user_id: str) -> webhooks.Webhook:
    """Finds a webhook of one of the user's companies. Raises `NotFound`, `PermissionDenied`."""
    webhook = await webhooks.get(work, webhook_id)
    outside.must_own(await roles_of(work, user_id), webhook.owner)
    return webhook


def fold(address: str) -> str:
    return address.strip().lower()


def to_message(row: Row) -> Message:
    kept = {each.name: row[each.name] for each in fields(Message)}
    typed = {
        "kind": Kind(row["kind"]),
        "status": Status(row["status"]),
        "language": Language(row["language"]),
        "in_app": bool(row["in_app"]),
        "by_mail": bool(row["by_mail"]),
    }
    return Message(**(kept | typed))


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
