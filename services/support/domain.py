"""What a ticket is, how urgent it is, and what may become of it. No gRPC, no NATS, no SQL."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum

from mesh.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Violation,
)

MINUTE_US = 60 * 1_000_000
HOUR_US = 60 * MINUTE_US

# How long money is under way when all is well: seconds. A minute is none of them.
STUCK_AFTER_US = MINUTE_US

# What is kept of an account, and what of it goes with a ticket.
HAPPENINGS_KEPT = 20
HAPPENINGS_TOLD = 20

# Whoever writes more than is answered is answered first.
MOST_OPEN_TICKETS = 50

# What is masked, each with what stands for it. Every repetition has a bound: a text is masked in a
# time that grows with its length alone.
BEGINS, ENDS = r"(?<![\w.+-])", r"(?![\w-])"
MASKS = (
    (re.compile(r"eyJ[\w.-]+"), "***"),
    (re.compile(r"[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,8}"), "***@***"),
    (re.compile(rf"{BEGINS}\d{{2}}\.?\d{{3}}\.?\d{{3}}/?\d{{4}}-?(\d{{2}}){ENDS}"), r"*****-\1"),
    (re.compile(rf"{BEGINS}[\dA-Za-z.]{{10}}/[\dA-Za-z]{{4}}-(\d{{2}}){ENDS}"), r"*****-\1"),
    (re.compile(rf"{BEGINS}\d{{3}}\.?\d{{3}}\.?\d{{3}}-?(\d{{2}}){ENDS}"), r"*****-\1"),
    (re.compile(rf"{BEGINS}(?:\+?55 ?)?\(?\d{{2}}\)? ?9?\d{{4}}[ -]?(\d{{4}}){ENDS}"), r"****\1"),
    (re.compile(rf"{BEGINS}\d(?:[ -]?\d){{8,14}}[ -]?(\d{{4}}){ENDS}"), r"****\1"),
)


class Priority(IntEnum):
    """How urgent a ticket is. Names and numbers are those of the contract; the numbers are kept."""

    URGENT = 1
    HIGH = 2
    NORMAL = 3


# Within what time a ticket that waits is answered.
ANSWERED_WITHIN_US = {
    Priority.URGENT: 15 * MINUTE_US,
    Priority.HIGH: HOUR_US,
    Priority.NORMAL: 4 * HOUR_US,
}


class Status(StrEnum):
    """How far a ticket has come. The names are those of the contract; the values are stored."""

    OPEN = "open"
    ANSWERED = "answered"
    RESOLVED = "resolved"


@dataclass(frozen=True, kw_only=True, slots=True)
class Happening:
    """What has happened on an account, without the names, keys and words of anybody."""

    id: str
    kind: str
    account_id: str
    at_us: int
    transfer_id: str = ""
    minor_units: int | None = None
    currency: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class UnderWay:
    """A transfer that has not ended; it began, or will, at `since_us`."""

    transfer_id: str
    account_id: str
    since_us: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticket:
    """A question, or a report of an error."""

    id: str
    request_id: str
    opened_by: str
    subject: str = field(repr=False)
    description: str = field(repr=False)
    trace_id: str
    app_version: str
    account_id: str
    transfer_id: str
    created_at_us: int
    waits_since_us: int
    priority: Priority = Priority.NORMAL
    status: Status = Status.OPEN
    first_answered_at_us: int | None = None
    resolved_at_us: int | None = None
    escalates_at_us: int | None = None
    escalated_at_us: int | None = None
    times_reopened: int = 0
    version: int = 1

    @property
    def answer_due_us(self) -> int:
        return self.waits_since_us + ANSWERED_WITHIN_US[self.priority]

    @property
    def first_answer_took_us(self) -> int | None:
        answered = self.first_answered_at_us
        return None if answered is None else answered - self.created_at_us

    def must_repeat(self, earlier: Ticket) -> None:
        if self.asked() != earlier.asked():
            raise AlreadyExists("REQUEST_ID_TAKEN", "This request id names another ticket.")

    def asked(self) -> tuple[str, ...]:
        """Tells two tickets apart that were asked for under one request id."""
        about = (self.trace_id, self.app_version, self.account_id, self.transfer_id)
        return (self.subject, self.description, *about)

    def prioritised(self, under_way: Iterable[UnderWay]) -> Ticket:
        """Gives the ticket its priority, by the transfers under way on the accounts it is about."""
        found = replace(self, priority=priority(self, under_way))
        return replace(found, escalates_at_us=found.answer_due_us)

    def escalated(self, priority: Priority, at_us: int) -> Ticket:
        """Makes the ticket more urgent; what is as urgent already stays as it is."""
        self.must_not_be_resolved()
        if priority >= self.priority:
            return self
        after = replace(self, priority=priority, escalated_at_us=at_us, version=self.version + 1)
        return replace(after, escalates_at_us=after.answer_due_us)

    def missed(self, at_us: int) -> Ticket:
        """Makes the ticket more urgent if its answer is overdue.

        It has the time of its new priority until it is made more urgent still. The most urgent is
        told of once.
        """
        due = self.escalates_at_us
        if self.status is not Status.OPEN or due is None or due > at_us:
            return self
        is_most = self.priority is Priority.URGENT
        raised = self.priority if is_most else Priority(self.priority - 1)
        return replace(
            self,
            priority=raised,
            escalated_at_us=at_us,
            escalates_at_us=None if is_most else at_us + ANSWERED_WITHIN_US[raised],
            version=self.version + 1,
        )

    def reopened(self, at_us: int) -> Ticket:
        """Lets the ticket wait for an answer again. One that waits cannot be opened."""
        if self.status is Status.OPEN:
            raise FailedPrecondition("TICKET_OPEN", "The ticket waits for an answer already.")
        after = replace(
            self,
            status=Status.OPEN,
            resolved_at_us=None,
            waits_since_us=at_us,
            times_reopened=self.times_reopened + 1,
            version=self.version + 1,
        )
        return replace(after, escalates_at_us=after.answer_due_us)

    def must_be_of(self, user_id: str) -> None:
        if self.opened_by != user_id:
            raise no_such_ticket()

    def answered(self, at_us: int) -> Ticket:
        self.must_not_be_resolved()
        first = at_us if self.first_answered_at_us is None else self.first_answered_at_us
        version = self.version + 1
        return replace(self, status=Status.ANSWERED, first_answered_at_us=first, version=version)

    def resolved(self, at_us: int) -> Ticket:
        if self.status is Status.RESOLVED:
            return self
        version = self.version + 1
        return replace(self, status=Status.RESOLVED, resolved_at_us=at_us, version=version)

    def must_not_be_resolved(self) -> None:
        if self.status is Status.RESOLVED:
            raise FailedPrecondition(
                "TICKET_RESOLVED", "The ticket has ended: it is to be opened again first."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An answer to a ticket, or what its user wrote when they opened it again."""

    id: str
    ticket_id: str
    request_id: str
    text: str = field(repr=False)
    created_at_us: int
    from_customer: bool = False

    def must_repeat(self, earlier: Answer) -> None:
        if (self.text, self.from_customer) != (earlier.text, earlier.from_customer):
            raise AlreadyExists("REQUEST_ID_TAKEN", "This request id names another answer.")


@dataclass(frozen=True, kw_only=True)
class Queue:
    """The head of the queue, how many tickets wait in all, and how many of them are overdue."""

    tickets: list[Ticket]
    waiting: int
    overdue: int


def priority(ticket: Ticket, under_way: Iterable[UnderWay]) -> Priority:
    """Tells how urgent a ticket is: stuck money before a reported error before a question.

    Money is stuck when a transfer has been under way for too long, or when it is under way at all
    and the customer asks about that one.
    """
    now = ticket.created_at_us
    for each in under_way:
        patience = 0 if each.transfer_id == ticket.transfer_id else STUCK_AFTER_US
        if now - each.since_us > patience:
            return Priority.URGENT
    return Priority.HIGH if ticket.trace_id else Priority.NORMAL


def written(text: str, name: str) -> str:
    """Gives the text of a field as it is kept. Raises `InvalidArgument` if it says nothing.

    What names or reaches somebody, or opens a door, is masked: CPF and CNPJ, e-mail address, phone,
    card, access token. The last digits stay, to tell one from another.
    """
    kept = text.strip()
    if not kept:
        rule = Violation(name, "must say something")
        raise InvalidArgument("TEXT_EMPTY", "The text says nothing.", rule)
    for pattern, mask in MASKS:
        kept = pattern.sub(mask, kept)
    return kept


def page_of(trace_id: str, template: str) -> str:
    """Tells where a trace is shown. Empty: there is none."""
    return template.replace("{trace_id}", trace_id) if trace_id else ""


def must_be_few(open_tickets: int) -> None:
    if open_tickets >= MOST_OPEN_TICKETS:
        raise FailedPrecondition("TOO_MANY_TICKETS", "Your open tickets are to be answered first.")


def no_such_ticket() -> NotFound:
    return NotFound("TICKET_NOT_FOUND", "There is no such ticket.")


def no_such_account() -> NotFound:
    return NotFound("ACCOUNT_NOT_FOUND", "There is no such account.")
