"""The support service over real gRPC, the customers who ask it, and the staff who answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bank.accounts.v1 import events_pb2 as ledger
from bank.money.v1.money_pb2 import Money
from bank.support.v1 import support_pb2 as pb
from bank.support.v1.support_pb2_grpc import SupportServiceStub
from bank.transfers.v1 import events_pb2 as transfers
from bank.users.v1 import events_pb2 as users
from bank.users.v1.users_pb2 import Role
from mesh.clock import now_us
from mesh.db import UnitOfWork, sql
from mesh.ids import new_id
from mesh.testing.harness import Running
from services import wire

HAPPENINGS = sql("SELECT * FROM happenings ORDER BY id")

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Support:
    def __init__(self, service: Running) -> None:
        self.service = service
        self.bff = service.stub(SupportServiceStub)
        self.posted = 0
        self.bakery, self.mill = new_id(), new_id()

    async def open_account(self, user_id: str, account_id: str) -> None:
        company_id = f"company of {user_id}"
        await self.service.tell(
            users.MembershipChanged(company_id=company_id, user_id=user_id, role=Role.ROLE_OWNER)
        )
        await self.service.tell(
            ledger.AccountOpened(account_id=account_id, company_id=company_id, owner_id=user_id)
        )

    async def begin_transfer(self, account_id: str, scheduled_for_us: int | None = None) -> str:
        """Tells of a transfer that was accepted; the ledger has not been heard of it."""
        transfer_id = new_id()
        created = transfers.TransferCreated(
            transfer_id=transfer_id, payer_account_id=account_id, amount=brl(100)
        )
        if scheduled_for_us is not None:
            created.scheduled_for.CopyFrom(wire.timestamp(scheduled_for_us))
        await self.service.tell(created)
        return transfer_id

    async def fail_transfer(self, transfer_id: str, account_id: str) -> None:
        await self.service.tell(
            transfers.TransferFailed(
                transfer_id=transfer_id,
                payer_account_id=account_id,
                amount=brl(100),
                failure_reason="INSUFFICIENT_FUNDS",
            )
        )

    async def post(self, account_id: str, minor_units: int) -> ledger.EntryPosted:
        self.posted += 1
        posted = ledger.EntryPosted(
            account_id=account_id,
            entry_id=new_id(),
            version=self.posted,
            occurred_at=wire.timestamp(now_us()),
            transfer_id=new_id(),
            amount=brl(minor_units),
            counterparty="ana@example.com",
            description="aluguel da Ana",
        )
        await self.service.tell(posted)
        return posted

    async def happenings(self) -> list[dict[str, Any]]:
        async def look(work: UnitOfWork) -> list[dict[str, Any]]:
            return [dict(row) for row in await work.fetch_all(HAPPENINGS)]

        return await self.service.database.read(look)

    async def open(self, user_id: str = "ana", **asked: Any) -> pb.Ticket:
        with self.service.signed_in(user_id):
            return (await self.bff.CreateTicket(a_request(**asked))).ticket

    async def get(self, ticket_id: str, user_id: str = "ana") -> pb.Ticket:
        with self.service.signed_in(user_id):
            return (await self.bff.GetTicket(pb.GetTicketRequest(ticket_id=ticket_id))).ticket

    async def page(self, user_id: str = "ana", **asked: Any) -> pb.ListTicketsResponse:
        with self.service.signed_in(user_id):
            return await self.bff.ListTickets(pb.ListTicketsRequest(**asked))

    async def reopen(self, ticket_id: str, user_id: str = "ana", **more: Any) -> pb.Ticket:
        asked = {"request_id": new_id(), "ticket_id": ticket_id, "text": "Ainda não."} | more
        with self.service.signed_in(user_id):
            return (await self.bff.ReopenTicket(pb.ReopenTicketRequest(**asked))).ticket

    @contextmanager
    def as_staff(self) -> Iterator[Any]:
        with self.service.signed_in("eva", scope="staff", second_factor=True) as out:
            out.reason = "the queue"
            yield self.bff

    async def answer(self, ticket_id: str, text: str = "Pronto.", **more: Any) -> pb.Ticket:
        asked = {"request_id": new_id(), "ticket_id": ticket_id, "text": text} | more
        with self.as_staff() as staff:
            ticket: pb.Ticket = (await staff.AnswerTicket(pb.AnswerTicketRequest(**asked))).ticket
        return ticket

    async def resolve(self, ticket_id: str) -> pb.Ticket:
        request = pb.ResolveTicketRequest(ticket_id=ticket_id)
        with self.as_staff() as staff:
            ticket: pb.Ticket = (await staff.ResolveTicket(request)).ticket
        return ticket

    async def escalate(self, ticket_id: str, priority: str) -> pb.Ticket:
        value = pb.TicketPriority.Value(f"TICKET_PRIORITY_{priority}")
        request = pb.EscalateTicketRequest(ticket_id=ticket_id, priority=value)
        with self.as_staff() as staff:
            ticket: pb.Ticket = (await staff.EscalateTicket(request)).ticket
        return ticket

    async def queue(self, **asked: Any) -> pb.ListQueueResponse:
        with self.as_staff() as staff:
            queue: pb.ListQueueResponse = await staff.ListQueue(pb.ListQueueRequest(**asked))
        return queue

    async def queued(self) -> list[str]:
        return [each.ticket.ticket_id for each in (await self.queue()).tickets]

    async def inspect(self, ticket_id: str) -> pb.InspectTicketResponse:
        request = pb.InspectTicketRequest(ticket_id=ticket_id)
        with self.as_staff() as staff:
            known: pb.InspectTicketResponse = await staff.InspectTicket(request)
        return known


def a_request(**asked: Any) -> pb.CreateTicketRequest:
    usual = {"request_id": new_id(), "subject": "Dúvida", "description": "Como mudo o limite?"}
    return pb.CreateTicketRequest(**(usual | asked))


def brl(minor_units: int) -> Money:
    return Money(minor_units=minor_units, currency_code="BRL")
