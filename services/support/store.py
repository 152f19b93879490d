"""Where tickets are kept, and the copies of what others own."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
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
)
from sqlmodel import Field, SQLModel

from bank.support.v1 import events_pb2 as events
from bank.support.v1.support_pb2 import TicketPriority
from mesh.db import Row, UnitOfWork, sql

from . import domain
from .domain import Answer, Happening, Priority, Queue, Status, Ticket, UnderWay


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


class AnswerRow(Table, table=True):
    __tablename__ = "answers"
    __table_args__ = (UniqueConstraint("ticket_id", "request_id", name="answers_request"),)

    id: str = Field(primary_key=True, sa_type=Text)
    ticket_id: str = Field(sa_type=Text, foreign_key="tickets.id")
    request_id: str = Field(sa_type=Text)
    text: str = Field(sa_type=Text)
    created_at_us: int = Field(sa_type=BigInteger)


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


ADD = sql(
    "INSERT INTO tickets (id, request_id, opened_by, subject, description, trace_id, app_version,"
    " account_id, transfer_id, last_events, priority, status, version, created_at_us,"
    " answer_due_us, first_answered_at_us, resolved_at_us) VALUES (:id, :request_id, :opened_by,"
    " :subject, :description, :trace_id, :app_version, :account_id, :transfer_id, :last_events,"
    " :priority, :status, :version, :created_at_us, :answer_due_us, :first_answered_at_us,"
    " :resolved_at_us) ON CONFLICT (opened_by, request_id) DO NOTHING"
)
REPEATED = sql("SELECT * FROM tickets WHERE opened_by = :user AND request_id = :request_id")
OPEN = sql("SELECT COUNT(*) AS n FROM tickets WHERE opened_by = :user AND status = 'open'")
GET = sql("SELECT * FROM tickets WHERE id = :id")
LOCK = sql("SELECT * FROM tickets WHERE id = :id FOR UPDATE")
GET_OWN = sql("SELECT * FROM tickets WHERE id = :id AND opened_by = :user")
PAGE = sql(
    "SELECT * FROM tickets WHERE opened_by = :user AND id < :before ORDER BY id DESC LIMIT :size"
)
QUEUE = sql(
    "SELECT * FROM tickets WHERE status = 'open'"
    " AND CAST(:priority AS integer) IN (0, priority)"
    " ORDER BY priority, answer_due_us, id LIMIT :size"
)
WAITING = sql(
    "SELECT COUNT(*) AS waiting,"
    " COALESCE(SUM(CASE WHEN answer_due_us < :now THEN 1 ELSE 0 END), 0) AS overdue"
    " FROM tickets WHERE status = 'open' AND CAST(:priority AS integer) IN (0, priority)"
)
SAVE = sql(
    "UPDATE tickets SET priority = :priority, status = :status, version = :version,"
    " answer_due_us = :due, first_answered_at_us = :first_answered_at,"
    " resolved_at_us = :resolved_at WHERE id = :id"
)
ADD_ANSWER = sql(
    "INSERT INTO answers (id, ticket_id, request_id, text, created_at_us)"
    " VALUES (:id, :ticket_id, :request_id, :text, :created_at_us)"
)
REPEATED_ANSWER = sql(
    "SELECT * FROM answers WHERE ticket_id = :ticket AND request_id = :request_id"
)
FORGET_TICKETS = sql("UPDATE tickets SET subject = '-', description = '-' WHERE opened_by = :user")
FORGET_ANSWERS = sql(
    "UPDATE answers SET text = '-'"
    " WHERE ticket_id IN (SELECT id FROM tickets WHERE opened_by = :user)"
)
ANSWERS = sql("SELECT * FROM answers WHERE ticket_id = :ticket ORDER BY id")

IS_OWN = sql(
    "SELECT 1 AS is_own FROM accounts JOIN memberships USING (company_id)"
    " WHERE user_id = :user AND is_member AND account_id = :account"
)
UNDER_WAY = sql(
    "SELECT under_way.* FROM under_way JOIN accounts USING (account_id)"
    " JOIN memberships USING (company_id) WHERE user_id = :user AND is_member"
    " AND CAST(:account AS text) IN ('', account_id)"
)
HAPPENINGS = sql(
    "SELECT happenings.* FROM happenings JOIN accounts USING (account_id)"
    " JOIN memberships USING (company_id) WHERE user_id = :user AND is_member"
    " AND CAST(:account AS text) IN ('', account_id)"
    " ORDER BY at_us DESC, id DESC LIMIT :size"
)
NOTE = sql(
    "INSERT INTO happenings (id, kind, account_id, at_us, transfer_id, minor_units, currency,"
    " reason) VALUES (:id, :kind, :account_id, :at_us, :transfer_id, :minor_units, :currency,"
    " :reason) ON CONFLICT (id) DO NOTHING"
)
FORGET = sql(
    "DELETE FROM happenings WHERE account_id = :account AND id NOT IN (SELECT id FROM happenings"
    " WHERE account_id = :account ORDER BY at_us DESC, id DESC LIMIT :kept)"
)
BEGIN = sql(
    "INSERT INTO under_way (transfer_id, account_id, since_us)"
    " VALUES (:transfer_id, :account_id, :since_us) ON CONFLICT (transfer_id) DO NOTHING"
)
END = sql("DELETE FROM under_way WHERE transfer_id = :transfer")
ADD_ACCOUNT = sql(
    "INSERT INTO accounts (account_id, company_id) VALUES (:account, :company)"
    " ON CONFLICT (account_id) DO NOTHING"
)
SET_MEMBER = sql(
    "INSERT INTO memberships (user_id, company_id, is_member) VALUES (:user, :company, :is_member)"
    " ON CONFLICT (user_id, company_id) DO UPDATE SET is_member = excluded.is_member"
)


async def open_ticket(work: UnitOfWork, asked: Ticket) -> tuple[Ticket, bool]:
    """Keeps a ticket, or finds the one that was asked for before; tells it and if it is new."""
    row = await work.fetch_one(REPEATED, user=asked.opened_by, request_id=asked.request_id)
    if row is None:
        ticket = await prioritised(work, asked)
        told = [asdict(each) for each in await happenings(work, asked.opened_by, asked.account_id)]
        if await work.execute(ADD, **columns(ticket), last_events=json.dumps(told)):
            work.publish(opened(ticket), version=ticket.version)
            return ticket, True
        row = await work.fetch_one(REPEATED, user=asked.opened_by, request_id=asked.request_id)
        assert row is not None, "a ticket is never removed"
    earlier = to_ticket(row)
    asked.must_repeat(earlier)
    return earlier, False


async def prioritised(work: UnitOfWork, asked: Ticket) -> Ticket:
    whose = {"user": asked.opened_by, "account": asked.account_id}
    if asked.account_id and await work.fetch_one(IS_OWN, **whose) is None:
        raise domain.no_such_account()
    count = await work.fetch_one(OPEN, user=asked.opened_by)
    domain.must_be_few(count["n"] if count else 0)
    rows = await work.fetch_all(UNDER_WAY, **whose)
    return asked.prioritised(UnderWay(**dict(row)) for row in rows)


async def happenings(work: UnitOfWork, user_id: str, account_id: str) -> list[Happening]:
    rows = await work.fetch_all(
        HAPPENINGS, user=user_id, account=account_id, size=domain.HAPPENINGS_TOLD
    )
    return [Happening(**dict(row)) for row in rows]


async def answer(
    work: UnitOfWork, answer: Answer, *, resolve: bool
) -> tuple[Ticket, list[Answer], bool]:
    """Answers a ticket once for each request; tells it, its answers, and if this one is new."""
    before = await lock(work, answer.ticket_id)
    row = await work.fetch_one(
        REPEATED_ANSWER, ticket=answer.ticket_id, request_id=answer.request_id
    )
    if row is not None:
        answer.must_repeat(Answer(**dict(row)))
        return before, await answers(work, before.id), False
    after = before.answered(answer.created_at_us)
    await work.execute(ADD_ANSWER, **asdict(answer))
    is_first = before.first_answered_at_us is None
    work.publish(answered(after, answer.id, is_first=is_first), version=after.version)
    if resolve:
        after = after.resolved(answer.created_at_us)
        work.publish(resolved(after), version=after.version)
    await save(work, after)
    return after, await answers(work, after.id), True


async def escalate(
    work: UnitOfWork, ticket_id: str, priority: Priority
) -> tuple[Ticket, list[Answer]]:
    """Makes a ticket more urgent."""
    after = (await lock(work, ticket_id)).escalated(priority)
    await save(work, after)
    return after, await answers(work, ticket_id)


async def resolve(work: UnitOfWork, ticket_id: str, at_us: int) -> tuple[Ticket, list[Answer]]:
    """Ends a ticket."""
    before = await lock(work, ticket_id)
    after = before.resolved(at_us)
    if after is not before:
        await save(work, after)
        work.publish(resolved(after), version=after.version)
    return after, await answers(work, ticket_id)


async def forget(work: UnitOfWork, user_id: str) -> None:
    """Forgets what an erased user wrote, and what was written to them; that it happened stays."""
    await work.execute(FORGET_ANSWERS, user=user_id)
    await work.execute(FORGET_TICKETS, user=user_id)


async def lock(work: UnitOfWork, ticket_id: str) -> Ticket:
    return must_exist(await work.fetch_one(LOCK, id=ticket_id))


async def save(work: UnitOfWork, ticket: Ticket) -> None:
    await work.execute(
        SAVE,
        id=ticket.id,
        priority=int(ticket.priority),
        status=ticket.status.value,
        version=ticket.version,
        due=ticket.answer_due_us,
        first_answered_at=ticket.first_answered_at_us,
        resolved_at=ticket.resolved_at_us,
    )


async def get_own(work: UnitOfWork, ticket_id: str, user_id: str) -> tuple[Ticket, list[Answer]]:
    """Reads a ticket of a user, and its answers."""
    ticket = must_exist(await work.fetch_one(GET_OWN, id=ticket_id, user=user_id))
    return ticket, await answers(work, ticket_id)


async def inspect(work: UnitOfWork, ticket_id: str) -> tuple[Ticket, list[Answer], list[Happening]]:
    """Reads a ticket, its answers, and what had last happened when it was opened."""
    row = await work.fetch_one(GET, id=ticket_id)
    ticket = must_exist(row)
    told = json.loads(row["last_events"]) if row else []
    return ticket, await answers(work, ticket_id), [Happening(**each) for each in told]


async def answers(work: UnitOfWork, ticket_id: str) -> list[Answer]:
    return [Answer(**dict(row)) for row in await work.fetch_all(ANSWERS, ticket=ticket_id)]


async def page(work: UnitOfWork, user_id: str, before: str, size: int) -> list[Ticket]:
    """Reads tickets of a user, the newest first."""
    rows = await work.fetch_all(PAGE, user=user_id, before=before, size=size)
    return [to_ticket(row) for row in rows]


async def queue(work: UnitOfWork, priority: int, size: int, now_us: int) -> Queue:
    """Reads the tickets of a priority, or of all (0), that wait for their first answer."""
    rows = await work.fetch_all(QUEUE, priority=priority, size=size)
    counted = await work.fetch_one(WAITING, priority=priority, now=now_us)
    assert counted is not None, "a count has one row"
    tickets = [to_ticket(row) for row in rows]
    return Queue(tickets=tickets, waiting=counted["waiting"], overdue=int(counted["overdue"]))


async def note(work: UnitOfWork, happening: Happening) -> None:
    """Keeps what has happened on an account, and forgets what happened long before."""
    await work.execute(NOTE, **asdict(happening))
    await work.execute(FORGET, account=happening.account_id, kept=domain.HAPPENINGS_KEPT)


async def begin(work: UnitOfWork, under_way: UnderWay) -> None:
    await work.execute(BEGIN, **asdict(under_way))


async def end(work: UnitOfWork, transfer_id: str) -> None:
    await work.execute(END, transfer=transfer_id)


async def add_account(work: UnitOfWork, account_id: str, company_id: str) -> None:
    await work.execute(ADD_ACCOUNT, account=account_id, company=company_id)


async def set_member(work: UnitOfWork, user_id: str, company_id: str, is_member: bool) -> None:
    await work.execute(SET_MEMBER, user=user_id, company=company_id, is_member=is_member)


def columns(ticket: Ticket) -> dict[str, object]:
    return {
        **asdict(ticket),
        "priority": int(ticket.priority),
        "status": ticket.status.value,
        "answer_due_us": ticket.answer_due_us,
    }


def must_exist(row: Row | None) -> Ticket:
    if row is None:
        raise domain.no_such_ticket()
    return to_ticket(row)


def to_ticket(row: Row) -> Ticket:
    kept = {each.name: row[each.name] for each in fields(Ticket)}
    typed = {"priority": Priority(row["priority"]), "status": Status(row["status"])}
    return Ticket(**(kept | typed))


def opened(ticket: Ticket) -> events.TicketOpened:
    return events.TicketOpened(
        ticket_id=ticket.id,
        opened_by=ticket.opened_by,
        priority=TicketPriority.Value(f"TICKET_PRIORITY_{ticket.priority.name}"),
        account_id=ticket.account_id,
        trace_id=ticket.trace_id,
    )


def answered(ticket: Ticket, answer_id: str, *, is_first: bool) -> events.TicketAnswered:
    event = events.TicketAnswered(
        ticket_id=ticket.id, opened_by=ticket.opened_by, answer_id=answer_id
    )
    if is_first:
        event.time_to_first_answer.FromMicroseconds(ticket.first_answer_took_us or 0)
    return event


def resolved(ticket: Ticket) -> events.TicketResolved:
    return events.TicketResolved(ticket_id=ticket.id, opened_by=ticket.opened_by)
