"""Speaks `bank.support.v1`, and decides nothing."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from bank.money.v1 import money_pb2
from bank.support.v1 import support_pb2 as pb
from bank.support.v1.support_pb2_grpc import SupportServiceServicer
from mesh.chassis import Chassis
from mesh.clock import now_us
from mesh.ids import new_id
from mesh.rpc import Context, caller, mark_replayed
from observability import metrics
from services import wire

from . import domain, store
from .domain import Answer, Happening, Priority, Ticket

PAGE_SIZE = 50
# Comes after every other id.


class SupportApi(SupportServiceServicer):
    """The door of customers, and of the staff who answer them."""

    def __init__(self, chassis: Chassis) -> None:
        self.transact = chassis.transact
        self.read = chassis.read
        self.trace_page = chassis.settings.trace_page

    async def CreateTicket(
        self, request: pb.CreateTicketRequest, context: Context
    ) -> pb.CreateTicketResponse:
        asked = to_ticket(request, caller().must_be_user().user_id)
        ticket, is_new = await self.transact(store.open_ticket, asked)
        if not is_new:
            mark_replayed(context)
        return pb.CreateTicketResponse(ticket=to_wire(ticket))

    async def GetTicket(
        self, request: pb.GetTicketRequest, context: Context
    ) -> pb.GetTicketResponse:
        me = caller().must_be_user()
        found = await self.read(store.get_own, request.ticket_id, me.user_id)
        return pb.GetTicketResponse(ticket=to_wire(*found))

    async def ListTickets(
        self, request: pb.ListTicketsRequest, context: Context
    ) -> pb.ListTicketsResponse:
        me = caller().must_be_user()
        before, size = wire.page_start(request.page_token), request.page_size or PAGE_SIZE
        found = await self.read(store.page, me.user_id, before, size + 1)
        page, next_page = wire.part_page(found, size)
        return pb.ListTicketsResponse(tickets=map(to_wire, page), next_page_token=next_page)

    async def ReopenTicket(
        self, request: pb.ReopenTicketRequest, context: Context
    ) -> pb.ReopenTicketResponse:
        me = caller().must_be_user()
        asked = to_answer(request, from_customer=True)
        ticket, answers, is_new = await self.transact(store.reopen, asked, me.user_id)
        if not is_new:
            mark_replayed(context)
        return pb.ReopenTicketResponse(ticket=to_wire(ticket, answers))

    async def ListQueue(
        self, request: pb.ListQueueRequest, context: Context
    ) -> pb.ListQueueResponse:
        now, size = now_us(), request.page_size or PAGE_SIZE
        queue = await self.read(store.queue, request.priority, size, now)
        return pb.ListQueueResponse(
            tickets=(queued_to_wire(ticket, now) for ticket in queue.tickets),
            waiting=queue.waiting,
            overdue=queue.overdue,
        )

    async def InspectTicket(
        self, request: pb.InspectTicketRequest, context: Context
    ) -> pb.InspectTicketResponse:
        ticket, answers, told = await self.read(store.inspect, request.ticket_id)
        return pb.InspectTicketResponse(
            ticket=to_wire(ticket, answers),
            opened_by=ticket.opened_by,
            last_events=map(happening_to_wire, told),
            trace_url=domain.page_of(ticket.trace_id, self.trace_page),
        )

    async def AnswerTicket(
        self, request: pb.AnswerTicketRequest, context: Context
    ) -> pb.AnswerTicketResponse:
        answer = to_answer(request, from_customer=False)
        ticket, answers, is_new = await self.transact(store.answer, answer, resolve=request.resolve)
        if not is_new:
            mark_replayed(context)
        elif ticket.first_answered_at_us == answer.created_at_us:
            waited_s = (ticket.first_answer_took_us or 0) / 1e6
            metrics.TICKET_FIRST_ANSWER.record(waited_s, ticket.priority.name)
        return pb.AnswerTicketResponse(ticket=to_wire(ticket, answers))

    async def EscalateTicket(
        self, request: pb.EscalateTicketRequest, context: Context
    ) -> pb.EscalateTicketResponse:
        priority = Priority(request.priority)
        changed = await self.transact(store.escalate, request.ticket_id, priority, now_us())
        return pb.EscalateTicketResponse(ticket=to_wire(*changed))

    async def ResolveTicket(
        self, request: pb.ResolveTicketRequest, context: Context
    ) -> pb.ResolveTicketResponse:
        changed = await self.transact(store.resolve, request.ticket_id, now_us())
        return pb.ResolveTicketResponse(ticket=to_wire(*changed))


def to_ticket(request: pb.CreateTicketRequest, user_id: str) -> Ticket:
    now = now_us()
    return Ticket(
        id=new_id(),
        request_id=request.request_id,
        opened_by=user_id,
        subject=domain.written(request.subject, "subject"),
        description=domain.written(request.description, "description"),
        trace_id=request.trace_id,
        app_version=request.app_version,
        account_id=request.account_id,
        transfer_id=request.transfer_id,
        created_at_us=now,
        waits_since_us=now,
    )


def to_answer(
    request: pb.AnswerTicketRequest | pb.ReopenTicketRequest, *, from_customer: bool
) -> Answer:
    return Answer(
        id=new_id(),
        ticket_id=request.ticket_id,
        request_id=request.request_id,
        text=domain.written(request.text, "text"),
        created_at_us=now_us(),
        from_customer=from_customer,
    )


def to_wire(ticket: Ticket, answers: Iterable[Answer] = ()) -> pb.Ticket:
    took = ticket.first_answer_took_us
    return pb.Ticket(
        ticket_id=ticket.id,
        subject=ticket.subject,
        description=ticket.description,
        trace_id=ticket.trace_id,
        app_version=ticket.app_version,
        account_id=ticket.account_id,
        transfer_id=ticket.transfer_id,
        priority=pb.TicketPriority.Value(f"TICKET_PRIORITY_{ticket.priority.name}"),
        status=pb.TicketStatus.Value(f"TICKET_STATUS_{ticket.status.name}"),
        created_at=wire.timestamp(ticket.created_at_us),
        answer_due_at=wire.timestamp(ticket.answer_due_us),
        time_to_first_answer=None if took is None else duration(took),
        resolved_at=moment(ticket.resolved_at_us),
        answers=map(answer_to_wire, answers),
        times_reopened=ticket.times_reopened,
        escalated_at=moment(ticket.escalated_at_us),
    )


def queued_to_wire(ticket: Ticket, now_us: int) -> pb.QueuedTicket:
    return pb.QueuedTicket(
        ticket=to_wire(ticket),
        opened_by=ticket.opened_by,
        time_left=duration(ticket.answer_due_us - now_us),
    )


def answer_to_wire(answer: Answer) -> pb.Answer:
    return pb.Answer(
        answer_id=answer.id,
        text=answer.text,
        created_at=wire.timestamp(answer.created_at_us),
        from_customer=answer.from_customer,
    )


def happening_to_wire(told: Happening) -> pb.AccountEvent:
    amount = None
    if told.minor_units is not None:
        amount = money_pb2.Money(minor_units=told.minor_units, currency_code=told.currency)
    return pb.AccountEvent(
        kind=told.kind,
        account_id=told.account_id,
        occurred_at=wire.timestamp(told.at_us),
        transfer_id=told.transfer_id,
        amount=amount,
        reason=told.reason,
    )


def moment(microseconds: int | None) -> Timestamp | None:
    return None if microseconds is None else wire.timestamp(microseconds)


def duration(microseconds: int) -> Duration:
    length = Duration()
    length.FromMicroseconds(microseconds)
    return length
