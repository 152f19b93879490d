"""The door over real gRPC, with all that the contract promises."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bank.support.v1 import support_pb2 as pb
from bank.support.v1.events_pb2 import (
    TicketAnswered,
    TicketEscalated,
    TicketOpened,
    TicketReopened,
    TicketResolved,
)
from bank.transfers.v1.events_pb2 import TransferApproved, TransferAwaitingApproval
from mesh.clock import now_us
from mesh.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from mesh.ids import new_id
from mesh.testing.clock import travelling
from mesh.testing.waiting import eventually
from observability import metrics
from services.support.domain import MINUTE_US, MOST_OPEN_TICKETS

from .driver import TRACE, Support, a_request


async def test_a_question_is_kept_and_told(support: Support) -> None:
    ticket = await support.open()

    assert (ticket.priority, ticket.status) == (pb.TICKET_PRIORITY_NORMAL, pb.TICKET_STATUS_OPEN)
    assert ticket.answer_due_at.ToMicroseconds() > now_us()
    assert not ticket.HasField("time_to_first_answer")
    assert await support.get(ticket.ticket_id) == ticket
    (opened,) = await support.service.told(TicketOpened)
    assert opened.data == TicketOpened(
        ticket_id=ticket.ticket_id, opened_by="ana", priority=pb.TICKET_PRIORITY_NORMAL
    )


async def test_an_error_report_carries_its_trace_its_version_and_what_has_happened(
    support: Support,
) -> None:
    await support.post(support.bakery, 500)
    failed = await support.begin_transfer(support.bakery)
    await support.fail_transfer(failed, support.bakery)
    await support.post(support.mill, 900)

    ticket = await support.open(trace_id=TRACE, app_version="2.4.1 (android 15)")
    await support.post(support.bakery, 7)

    assert ticket.priority == pb.TICKET_PRIORITY_HIGH
    known = await support.inspect(ticket.ticket_id)
    assert (known.ticket.trace_id, known.ticket.app_version) == (TRACE, "2.4.1 (android 15)")
    assert known.opened_by == "ana"
    assert known.trace_url == f"http://127.0.0.1:16686/trace/{TRACE}"
    told = [(each.kind, each.amount.minor_units, each.reason) for each in known.last_events]
    assert told == [
        ("TRANSFER_FAILED", 100, "INSUFFICIENT_FUNDS"),
        ("ENTRY_POSTED", 500, ""),
        ("ACCOUNT_OPENED", 0, ""),
    ]
    assert {each.account_id for each in known.last_events} == {support.bakery}
    assert b"aluguel" not in known.SerializeToString()
    assert b"example.com" not in known.SerializeToString()


async def test_what_its_owner_tells_again_is_the_same_row(support: Support) -> None:
    posted = await support.post(support.bakery, 500)
    before = await support.happenings()

    with travelling() as time:
        time.by(MINUTE_US)
        await support.service.tell(posted)
        await support.open_account("ana", support.bakery)

    assert await support.happenings() == before
    assert len(before) == 3


async def test_a_ticket_about_money_under_way_is_urgent(support: Support) -> None:
    transfer_id = await support.begin_transfer(support.bakery)
    scheduled = await support.begin_transfer(support.bakery, now_us() + MINUTE_US)

    urgent = await support.open(transfer_id=transfer_id)
    other = await support.open()
    waits = await support.open(transfer_id=scheduled)
    foreign = await support.open("bia", transfer_id=transfer_id)
    await support.fail_transfer(transfer_id, support.bakery)
    over = await support.open(transfer_id=transfer_id)

    assert urgent.priority == pb.TICKET_PRIORITY_URGENT
    normal = (other, waits, foreign, over)
    assert {each.priority for each in normal} == {pb.TICKET_PRIORITY_NORMAL}


async def test_money_that_waits_for_an_approver_is_not_under_way(support: Support) -> None:
    transfer_id = await support.begin_transfer(support.bakery)
    await support.service.tell(TransferAwaitingApproval(transfer_id=transfer_id))

    waiting = await support.open(transfer_id=transfer_id)
    approved = TransferApproved(transfer_id=transfer_id, payer_account_id=support.bakery)
    await support.service.tell(approved)
    moving = await support.open(transfer_id=transfer_id)

    assert waiting.priority != pb.TICKET_PRIORITY_URGENT
    assert moving.priority == pb.TICKET_PRIORITY_URGENT


async def test_a_ticket_is_urgent_while_any_money_is_stuck(support: Support) -> None:
    await support.begin_transfer(support.bakery, now_us() - 2 * MINUTE_US)

    assert (await support.open()).priority == pb.TICKET_PRIORITY_URGENT
    assert (await support.open("bia")).priority == pb.TICKET_PRIORITY_NORMAL


async def test_texts_are_masked_before_they_are_kept(support: Support) -> None:
    ticket = await support.open(subject="CPF 529.982.247-25", description="ana@example.com")
    answered = await support.answer(ticket.ticket_id, "Ligue 11 98765-4321")

    assert (ticket.subject, ticket.description) == ("CPF *****-25", "***@***")
    assert answered.answers[0].text == "Ligue ****4321"


async def test_a_request_is_one_ticket_however_often_it_is_made(support: Support) -> None:
    request = a_request()
    with support.service.signed_in("ana") as carried:
        answers = await asyncio.gather(*(support.bff.CreateTicket(request) for _ in range(20)))

    assert len({answer.ticket.ticket_id for answer in answers}) == 1
    assert carried.replayed
    assert len(await support.service.told(TicketOpened)) == 1
    with pytest.raises(AlreadyExists):
        await support.open(request_id=request.request_id, subject="Outra")


async def test_tickets_are_listed_page_by_page_to_who_opened_them(support: Support) -> None:
    made = [(await support.open()).ticket_id for _ in range(5)]
    await support.open("bia")

    first = await support.page(page_size=3)
    rest = await support.page(page_size=3, page_token=first.next_page_token)

    assert [each.ticket_id for each in (*first.tickets, *rest.tickets)] == made[::-1]
    with pytest.raises(NotFound):
        await support.get(made[0], "bia")
    with pytest.raises(InvalidArgument):
        await support.page(page_token="nonsense")
    with pytest.raises(Unauthenticated):
        await support.bff.ListTickets(pb.ListTicketsRequest())


async def test_the_queue_goes_by_priority_and_then_by_when_an_answer_is_due(
    support: Support,
) -> None:
    asked, later = [(await support.open()).ticket_id for _ in range(2)]
    reported = (await support.open(trace_id=TRACE)).ticket_id
    transfer_id = await support.begin_transfer(support.bakery)
    stuck = (await support.open(transfer_id=transfer_id)).ticket_id

    assert await support.queued() == [stuck, reported, asked, later]
    await support.escalate(later, "HIGH")
    assert await support.queued() == [stuck, later, reported, asked]
    await support.answer(stuck)
    queue = await support.queue(page_size=1)
    assert [each.ticket.ticket_id for each in queue.tickets] == [later]
    assert (queue.waiting, queue.overdue, queue.tickets[0].opened_by) == (3, 0, "ana")
    assert queue.tickets[0].time_left.ToSeconds() > 3_500
    normal = await support.queue(priority=pb.TICKET_PRIORITY_NORMAL)
    assert [each.ticket.ticket_id for each in normal.tickets] == [asked]


async def test_the_first_answer_is_measured_and_every_answer_told(support: Support) -> None:
    ticket = await support.open(trace_id=TRACE)

    first = await support.answer(ticket.ticket_id, "Vimos.")
    second = await support.answer(ticket.ticket_id, "Resolvido.", resolve=True)

    assert first.time_to_first_answer == second.time_to_first_answer
    assert first.time_to_first_answer.ToMicroseconds() > 0
    assert (first.status, second.status) == (
        pb.TICKET_STATUS_ANSWERED,
        pb.TICKET_STATUS_RESOLVED,
    )
    assert [answer.text for answer in second.answers] == ["Vimos.", "Resolvido."]
    assert await support.get(ticket.ticket_id) == second
    told = await support.service.told(TicketAnswered)
    assert [event.data.HasField("time_to_first_answer") for event in told] == [True, False]
    (resolved,) = await support.service.told(TicketResolved)
    assert [*(event.version for event in told), resolved.version] == [2, 3, 4]
    samples = [line for line in metrics.render().decode().splitlines() if "first_answer" in line]
    assert any('bank_ticket_priority="HIGH"' in line for line in samples)


async def test_an_answer_is_written_once(support: Support) -> None:
    ticket = await support.open()
    request_id = new_id()

    for _ in range(3):
        answered = await support.answer(ticket.ticket_id, "Vimos.", request_id=request_id)

    assert len(answered.answers) == len(await support.service.told(TicketAnswered)) == 1
    with pytest.raises(AlreadyExists):
        await support.answer(ticket.ticket_id, "Outra.", request_id=request_id)
    with pytest.raises(NotFound):
        await support.answer(new_id())


async def test_a_resolved_ticket_is_answered_no_more(support: Support) -> None:
    ticket = await support.open()

    resolved = [await support.resolve(ticket.ticket_id) for _ in range(2)]

    assert resolved[0] == resolved[1]
    assert resolved[0].HasField("resolved_at")
    assert await support.queued() == []
    assert len(await support.service.told(TicketResolved)) == 1
    with pytest.raises(FailedPrecondition):
        await support.answer(ticket.ticket_id)
    with pytest.raises(FailedPrecondition):
        await support.escalate(ticket.ticket_id, "URGENT")


async def test_an_answer_that_is_overdue_makes_its_ticket_more_urgent(support: Support) -> None:
    with travelling() as time:
        ticket = await support.open()
        answered = await support.open()
        await support.answer(answered.ticket_id)

        time.to(ticket.answer_due_at.ToMicroseconds())

        async def escalated() -> bool:
            return bool(await support.service.told(TicketEscalated))

        await eventually(escalated)
        [queued] = (await support.queue()).tickets

    [told] = await support.service.told(TicketEscalated)
    assert (told.data.ticket_id, told.data.priority) == (
        ticket.ticket_id,
        pb.TICKET_PRIORITY_HIGH,
    )
    assert told.data.answer_was_due_at == ticket.answer_due_at
    assert queued.ticket.HasField("escalated_at")
    assert queued.time_left.ToSeconds() < 0


async def test_who_is_not_content_opens_their_ticket_again(support: Support) -> None:
    ticket = await support.open()
    await support.answer(ticket.ticket_id, resolve=True)
    request_id = new_id()

    again = [await support.reopen(ticket.ticket_id, request_id=request_id) for _ in range(2)]

    assert again[0] == again[1]
    assert (again[0].status, again[0].times_reopened) == (pb.TICKET_STATUS_OPEN, 1)
    assert [each.from_customer for each in again[0].answers] == [False, True]
    assert await support.queued() == [ticket.ticket_id]
    [told] = await support.service.told(TicketReopened)
    assert told.data.ticket_id == ticket.ticket_id
    with pytest.raises(FailedPrecondition):
        await support.reopen(ticket.ticket_id)
    with pytest.raises(NotFound):
        await support.reopen(ticket.ticket_id, "bia")
    await support.answer(ticket.ticket_id)
    assert await support.queued() == []


async def test_staff_says_why_it_looks(support: Support) -> None:
    eva = support.service.signed_in("eva", scope="staff", second_factor=True)
    with eva, pytest.raises(PermissionDenied) as caught:
        await support.bff.ListQueue(pb.ListQueueRequest())

    assert caught.value.reason == "ACCESS_REASON_MISSING"


async def test_nobody_but_staff_answers(support: Support) -> None:
    ticket = await support.open()

    for attempt in (
        support.bff.ListQueue(pb.ListQueueRequest()),
        support.bff.InspectTicket(pb.InspectTicketRequest(ticket_id=ticket.ticket_id)),
        support.bff.ResolveTicket(pb.ResolveTicketRequest(ticket_id=ticket.ticket_id)),
    ):
        with support.service.signed_in("ana"), pytest.raises(PermissionDenied):
            await attempt


async def test_another_customers_account_is_not_there(support: Support) -> None:
    own = await support.open(account_id=support.bakery)

    assert own.account_id == support.bakery
    for account_id in (support.mill, new_id()):
        with pytest.raises(NotFound) as caught:
            await support.open(account_id=account_id)
        assert caught.value.reason == "ACCOUNT_NOT_FOUND"


@pytest.mark.parametrize(
    "asked",
    [
        {"subject": ""},
        {"subject": " "},
        {"subject": "x" * 141},
        {"description": ""},
        {"trace_id": TRACE.upper()},
        {"trace_id": "4bf9"},
        {"app_version": "2.4\n1"},
        {"account_id": "no id"},
        {"transfer_id": "no id"},
    ],
)
async def test_what_makes_no_sense_is_refused(support: Support, asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        await support.open(**asked)


async def test_who_has_many_open_tickets_waits_for_an_answer(support: Support) -> None:
    await asyncio.gather(*(support.open() for _ in range(MOST_OPEN_TICKETS)))

    with pytest.raises(FailedPrecondition) as caught:
        await support.open()

    assert caught.value.reason == "TOO_MANY_TICKETS"
