"""Where tickets are kept, and the copies of what others own."""

from __future__ import annotations

import json
from dataclasses import asdict, fields

from bank.support.v1 import events_pb2 as events
from bank.support.v1.support_pb2 import TicketPriority
from mesh.clock import now_us
from mesh.db import Row, UnitOfWork, sql
from observability import metrics
from services import wire

from . import domain
from .domain import Answer, Happening, Priority, Queue, Status, Ticket, UnderWay

# The name of the saga; it is stored.
WATCH = "watch"

ADD = sql(
    "INSERT INTO tickets (id, request_id, opened_by, subject, description, trace_id, app_version,"
    " account_id, transfer_id, last_events, priority, status, version, created_at_us,"
    " answer_due_us, first_answered_at_us, resolved_at_us, waits_since_us, escalates_at_us,"
    " escalated_at_us, times_reopened) VALUES (:id, :request_id, :opened_by,"
    " :subject, :description, :trace_id, :app_version, :account_id, :transfer_id, :last_events,"
    " :priority, :status, :version, :created_at_us, :answer_due_us, :first_answered_at_us,"
    " :resolved_at_us, :waits_since_us, :escalates_at_us, :escalated_at_us, :times_reopened)"
    " ON CONFLICT (opened_by, request_id) DO NOTHING"
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
    " answer_due_us = :answer_due_us, first_answered_at_us = :first_answered_at_us,"
    " resolved_at_us = :resolved_at_us, waits_since_us = :waits_since_us,"
    " escalates_at_us = :escalates_at_us, escalated_at_us = :escalated_at_us,"
    " times_reopened = :times_reopened WHERE id = :id"
)
ADD_ANSWER = sql(
    "INSERT INTO answers (id, ticket_id, request_id, text, created_at_us, from_customer)"
    " VALUES (:id, :ticket_id, :request_id, :text, :created_at_us, :from_customer)"
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


SAVED = (
    "id",
    "priority",
    "status",
    "version",
    "answer_due_us",
    "first_answered_at_us",
    "resolved_at_us",
    "waits_since_us",
    "escalates_at_us",
    "escalated_at_us",
    "times_reopened",
)


async def open_ticket(work: UnitOfWork, asked: Ticket) -> tuple[Ticket, bool]:
    """Keeps a ticket, or finds the one that was asked for before; tells it and if it is new."""
    row = await work.fetch_one(REPEATED, user=asked.opened_by, request_id=asked.request_id)
    if row is None:
        ticket = await prioritised(work, asked)
        told = [asdict(each) for each in await happenings(work, asked.opened_by, asked.account_id)]
        if await work.execute(ADD, **columns(ticket), last_events=json.dumps(told)):
            work.publish(opened(ticket), version=ticket.version)
            watch_over(work, ticket)
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
    if await is_repeated(work, answer):
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


async def reopen(
    work: UnitOfWork, asked: Answer, user_id: str
) -> tuple[Ticket, list[Answer], bool]:
    """Opens a ticket of a user again, once for each request; tells it, as `answer` does."""
    before = await lock(work, asked.ticket_id)
    before.must_be_of(user_id)
    if await is_repeated(work, asked):
        return before, await answers(work, before.id), False
    after = before.reopened(asked.created_at_us)
    await work.execute(ADD_ANSWER, **asdict(asked))
    work.publish(reopened(after), version=after.version)
    watch_over(work, after)
    await save(work, after)
    return after, await answers(work, after.id), True


async def is_repeated(work: UnitOfWork, asked: Answer) -> bool:
    row = await work.fetch_one(REPEATED_ANSWER, ticket=asked.ticket_id, request_id=asked.request_id)
    if row is not None:
        asked.must_repeat(to_answer(row))
    return row is not None


async def escalate(
    work: UnitOfWork, ticket_id: str, priority: Priority, at_us: int
) -> tuple[Ticket, list[Answer]]:
    """Makes a ticket more urgent."""
    before = await lock(work, ticket_id)
    after = before.escalated(priority, at_us)
    if after is not before:
        await save(work, after)
        work.publish(escalated(after), version=after.version)
        watch_over(work, after)
    return after, await answers(work, ticket_id)


async def load_watch(work: UnitOfWork, watch: str) -> str:
    return watch


async def end_watch(work: UnitOfWork, watch: str) -> str:
    """Makes the ticket of a watch more urgent, if its answer is overdue."""
    at_us = now_us()
    before = await lock(work, watch.partition("/")[0])
    after = before.missed(at_us)
    if after is not before:
        await save(work, after)
        work.publish(escalated(after, before.answer_due_us), version=after.version)
        watch_over(work, after)
        missed = metrics.TICKET_TARGETS_MISSED.bind(before.priority.name)
        work.on_commit(missed.add)
    return watch


def watch_over(work: UnitOfWork, ticket: Ticket) -> None:
    """Has a ticket looked at when its answer is due: a saga that begins then."""
    due = ticket.escalates_at_us
    if due is not None:
        work.start(WATCH, f"{ticket.id}/{due}", at_us=due)


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
    await work.execute(SAVE, **{name: columns(ticket)[name] for name in SAVED})


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
    return [to_answer(row) for row in await work.fetch_all(ANSWERS, ticket=ticket_id)]


async def page(work: UnitOfWork, user_id: str, before: str, size: int) -> list[Ticket]:
    """Reads tickets of a user, the newest first."""
    rows = await work.fetch_all(PAGE, user=user_id, before=before, size=size)
    return [to_ticket(row) for row in rows]


async def queue(work: UnitOfWork, priority: int, size: int, now_us: int) -> Queue:
    """Reads the tickets of a priority, or of all (0), that wait for an answer."""
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


def to_answer(row: Row) -> Answer:
    return Answer(**(dict(row) | {"from_customer": bool(row["from_customer"])}))


def opened(ticket: Ticket) -> events.TicketOpened:
    return events.TicketOpened(
        ticket_id=ticket.id,
        opened_by=ticket.opened_by,
        priority=priority_of(ticket),
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


def escalated(ticket: Ticket, missed_us: int | None = None) -> events.TicketEscalated:
    return events.TicketEscalated(
        ticket_id=ticket.id,
        opened_by=ticket.opened_by,
        priority=priority_of(ticket),
        answer_was_due_at=None if missed_us is None else wire.timestamp(missed_us),
    )


def reopened(ticket: Ticket) -> events.TicketReopened:
    return events.TicketReopened(
        ticket_id=ticket.id, opened_by=ticket.opened_by, priority=priority_of(ticket)
    )


def priority_of(ticket: Ticket) -> TicketPriority.ValueType:
    return TicketPriority.Value(f"TICKET_PRIORITY_{ticket.priority.name}")
