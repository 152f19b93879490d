"""Limits, fees, step-up and approval, as apps meet them."""

from __future__ import annotations

import asyncio

import pytest

from bank.money.v1.money_pb2 import Money
from bank.transfers.v1 import terms_pb2
from bank.transfers.v1 import transfers_pb2 as pb
from bank.transfers.v1.events_pb2 import (
    TransferApproved,
    TransferAwaitingApproval,
    TransferCancelled,
    TransferCompleted,
    TransferCreated,
)
from bank.users.v1 import events_pb2 as users
from bank.users.v1.users_pb2 import Role
from mesh.clock import now_us, to_us
from mesh.errors import FailedPrecondition, NotFound, PermissionDenied, StepUpRequired
from mesh.testing.clock import travelling
from mesh.testing.waiting import eventually
from services import wire
from services.transfers.domain.terms import local

from .driver import DAY_US, HOUR_US, Bank

PIX = pb.Payee(pix_key="bia@example.com")


async def limit(bank: Bank, kind: str, amount: int, user_id: str = "ana") -> terms_pb2.Limit:
    """Sets a limit, and gives it as it is then."""
    value = terms_pb2.LimitKind.Value(f"LIMIT_KIND_{kind}")
    wanted = terms_pb2.NewLimit(kind=value, amount=Money(minor_units=amount, currency_code="BRL"))
    with bank.service.signed_in(user_id):
        answer = await bank.terms.UpdateLimits(terms_pb2.UpdateLimitsRequest(limits=[wanted]))
    return next(each for each in answer.limits if each.kind == value)


async def fee(bank: Bank, kind: terms_pb2.FeeKind.ValueType, fixed: int, points: int = 0) -> None:
    wanted = terms_pb2.Fee(kind=kind, fixed_minor_units=fixed, basis_points=points)
    await bank.operator.SetFee(terms_pb2.SetFeeRequest(fee=wanted))


async def reason(bank: Bank, request: pb.CreateTransferRequest, user_id: str = "ana") -> str:
    try:
        await bank.create(request, user_id)
    except (FailedPrecondition, PermissionDenied) as refusal:
        return refusal.reason
    return ""


@pytest.fixture
async def company(bank: Bank) -> Bank:
    """Ana owns the company, Olga operates, Paul approves, Vera views."""
    for user_id, role in (
        ("ana", Role.ROLE_OWNER),
        ("olga", Role.ROLE_OPERATOR),
        ("paul", Role.ROLE_APPROVER),
        ("vera", Role.ROLE_VIEWER),
    ):
        changed = users.MembershipChanged(company_id="company of ana", user_id=user_id, role=role)
        await bank.service.tell(changed)
    bank.accounts.balances[bank.ana] = 1_000_000
    return bank


async def test_a_transfer_over_the_limit_is_refused_and_nothing_is_kept(company: Bank) -> None:
    await limit(company, "PER_TRANSFER", 100)

    assert await reason(company, company.request(101)) == "LIMIT_PER_TRANSFER"
    assert await reason(company, company.request(100)) == ""
    assert len(await company.service.told(TransferCreated)) == 1


async def test_at_once_no_more_is_accepted_than_the_day_allows(company: Bank) -> None:
    await limit(company, "PER_DAY", 1_000)

    reasons = await asyncio.gather(*(reason(company, company.request(300)) for _ in range(12)))

    assert sorted(reasons) == [""] * 3 + ["LIMIT_PER_DAY"] * 9
    [day] = [each for each in (await limits(company)) if each.used.minor_units]
    assert (day.kind, day.used.minor_units) == (terms_pb2.LIMIT_KIND_PER_DAY, 900)


async def limits(bank: Bank, user_id: str = "ana") -> list[terms_pb2.Limit]:
    with bank.service.signed_in(user_id):
        return list((await bank.terms.GetLimits(terms_pb2.GetLimitsRequest())).limits)


async def test_what_fails_gives_the_limit_back(company: Bank) -> None:
    await limit(company, "PER_DAY", 1_000)
    company.accounts.balances[company.ana] = 500

    failed = await company.create(company.request(600))

    assert failed.failure_reason == "INSUFFICIENT_FUNDS"
    assert await reason(company, company.request(500)) == ""
    assert await reason(company, company.request(501)) == "LIMIT_PER_DAY"


async def test_at_night_pix_is_limited_and_the_rest_is_not(company: Bank) -> None:
    with travelling() as time:
        tomorrow = local(now_us() + DAY_US).replace(hour=21, minute=0)
        time.to(to_us(tomorrow))
        assert await reason(company, company.request(60_000, payee=PIX)) == ""
        time.by(8 * HOUR_US)
        # Five in the morning is of the same night.
        assert await reason(company, company.request(40_001, payee=PIX)) == "LIMIT_AT_NIGHT"
        assert await reason(company, company.request(40_001)) == ""
        time.by(HOUR_US)
        assert await reason(company, company.request(40_001, payee=PIX)) == ""


async def test_a_limit_is_lowered_at_once_and_raised_after_a_day(company: Bank) -> None:
    lowered = await limit(company, "PER_TRANSFER", 100)
    raised = await limit(company, "PER_TRANSFER", 500)

    assert not lowered.changing
    assert (raised.amount.minor_units, raised.next_amount.minor_units) == (100, 500)
    assert await reason(company, company.request(101)) == "LIMIT_PER_TRANSFER"
    with travelling() as time:
        time.by(DAY_US - HOUR_US)
        assert await reason(company, company.request(101)) == "LIMIT_PER_TRANSFER"
        # Asked again, it does not begin again.
        assert (await limit(company, "PER_TRANSFER", 500)).next_at == raised.next_at
        time.by(HOUR_US)
        assert await reason(company, company.request(500)) == ""


async def test_only_an_owner_sets_the_companys_limits_and_everybody_their_own(
    company: Bank,
) -> None:
    with pytest.raises(PermissionDenied, match="owner"):
        await limit(company, "PER_DAY", 1, "olga")
    with pytest.raises(NotFound):
        await limits(company, "eve")

    own = await limit(company, "WITHOUT_STEP_UP", 50, "olga")

    assert own.amount.minor_units == 50
    assert await reason(company, company.request(51), "olga") == "STEP_UP_REQUIRED"
    assert await reason(company, company.request(51), "ana") == ""


async def test_after_a_step_up_the_same_request_goes_through_once(company: Bank) -> None:
    await limit(company, "WITHOUT_STEP_UP", 1_000)
    request = company.request(1_001)

    with pytest.raises(StepUpRequired):
        await company.create(request)
    assert await company.service.told(TransferCreated) == []
    with company.service.signed_in("ana", second_factor=True):
        answers = [await company.stub.CreateTransfer(request) for _ in range(2)]
    # What was accepted is answered to who asks again, proven or not.
    again = await company.create(request)

    assert {answer.transfer.transfer_id for answer in answers} == {again.transfer_id}
    assert company.accounts.balances[company.bia] == 1_001


@pytest.mark.parametrize(
    ("user_id", "reasons"),
    [("ana", ""), ("olga", ""), ("paul", "ROLE_MAY_NOT_PAY"), ("vera", "ROLE_MAY_NOT_PAY")],
)
async def test_a_role_says_who_pays(company: Bank, user_id: str, reasons: str) -> None:
    assert await reason(company, company.request(1), user_id) == reasons


async def decide(bank: Bank, transfer_id: str, user_id: str, yes: bool = True) -> pb.Transfer:
    with bank.service.signed_in(user_id):
        if yes:
            request = pb.ApproveTransferRequest(transfer_id=transfer_id)
            return (await bank.stub.ApproveTransfer(request)).transfer
        rejection = pb.RejectTransferRequest(transfer_id=transfer_id)
        return (await bank.stub.RejectTransfer(rejection)).transfer


async def test_a_large_transfer_waits_for_another_to_approve_it(company: Bank) -> None:
    await limit(company, "WITHOUT_APPROVAL", 100)

    waiting = await company.create(company.request(101), "olga")

    assert waiting.status == pb.TRANSFER_STATUS_AWAITING_APPROVAL
    assert waiting.approval_expires_at.seconds > 0
    for user_id, refused in (("olga", "ROLE_MAY_NOT"), ("vera", "ROLE_MAY_NOT")):
        with pytest.raises(PermissionDenied) as caught:
            await decide(company, waiting.transfer_id, user_id)
        assert caught.value.reason.startswith(refused)
    assert company.accounts.balances[company.bia] == 0
    with company.service.signed_in("paul"):
        page = await company.stub.ListTransfers(
            pb.ListTransfersRequest(status=pb.TRANSFER_STATUS_AWAITING_APPROVAL)
        )
    assert [each.transfer_id for each in page.transfers] == [waiting.transfer_id]

    approved = [await decide(company, waiting.transfer_id, "paul") for _ in range(2)]

    assert {each.decided_by for each in approved} == {"paul"}

    async def is_completed() -> bool:
        return (await company.get(waiting.transfer_id)).status == pb.TRANSFER_STATUS_COMPLETED

    await eventually(is_completed)
    assert company.accounts.balances[company.bia] == 101
    [awaiting] = await company.service.told(TransferAwaitingApproval)
    [told] = await company.service.told(TransferApproved)
    [completed] = await company.service.told(TransferCompleted)
    assert (awaiting.version, told.version, completed.version) == (1, 2, 3)
    assert (told.data.requested_by, told.data.approved_by) == ("olga", "paul")


async def test_nobody_approves_what_they_have_asked_for(company: Bank) -> None:
    await limit(company, "WITHOUT_APPROVAL", 100)
    waiting = await company.create(company.request(101), "ana")

    with pytest.raises(PermissionDenied) as caught:
        await decide(company, waiting.transfer_id, "ana")
    assert caught.value.reason == "MAKER_MAY_NOT_APPROVE"


async def test_a_rejected_transfer_is_cancelled_for_good(company: Bank) -> None:
    await limit(company, "WITHOUT_APPROVAL", 100)
    waiting = await company.create(company.request(101), "olga")

    for _ in range(2):
        rejected = await decide(company, waiting.transfer_id, "paul", yes=False)
    assert rejected.status == pb.TRANSFER_STATUS_CANCELLED
    assert rejected.failure_reason == "APPROVAL_REJECTED"
    with pytest.raises(FailedPrecondition):
        await decide(company, waiting.transfer_id, "ana")
    [cancelled] = await company.service.told(TransferCancelled)
    assert (cancelled.data.cancelled_by, cancelled.data.reason) == ("paul", "APPROVAL_REJECTED")


async def test_what_nobody_approves_is_cancelled_in_time(company: Bank) -> None:
    await limit(company, "WITHOUT_APPROVAL", 100)
    waiting = await company.create(company.request(101), "olga")

    async def is_cancelled() -> bool:
        return (await company.get(waiting.transfer_id)).status == pb.TRANSFER_STATUS_CANCELLED

    with travelling() as time:
        time.by(7 * DAY_US + HOUR_US)
        with pytest.raises(FailedPrecondition):
            await decide(company, waiting.transfer_id, "paul")
        await eventually(is_cancelled)
    assert (await company.get(waiting.transfer_id)).failure_reason == "APPROVAL_EXPIRED"


async def test_what_is_approved_counts_when_it_is_approved(company: Bank) -> None:
    await limit(company, "WITHOUT_APPROVAL", 100)
    await limit(company, "PER_DAY", 200)
    one, two = [await company.create(company.request(150), "olga") for _ in range(2)]

    await decide(company, one.transfer_id, "paul")
    with pytest.raises(FailedPrecondition) as caught:
        await decide(company, two.transfer_id, "paul")

    assert caught.value.reason == "LIMIT_PER_DAY"
    waiting = await company.get(two.transfer_id)
    assert waiting.status == pb.TRANSFER_STATUS_AWAITING_APPROVAL


async def test_without_fees_nothing_but_the_amount_moves(company: Bank) -> None:
    transfer = await company.create(company.request(100))

    assert not transfer.HasField("fee")
    assert company.accounts.balances == {company.ana: 999_900, company.bia: 100}


@pytest.mark.parametrize(
    ("kind", "payee", "paid"),
    [(terms_pb2.FEE_KIND_INTERNAL, None, None), (terms_pb2.FEE_KIND_PIX, PIX, "pix-clearing")],
)
async def test_a_fee_is_taken_in_the_same_entry(
    company: Bank, kind: terms_pb2.FeeKind.ValueType, payee: pb.Payee | None, paid: str | None
) -> None:
    await fee(company, kind, 10, 50)

    transfer = await company.create(company.request(2_199, payee=payee))

    assert transfer.status == pb.TRANSFER_STATUS_COMPLETED
    assert transfer.fee.minor_units == 10 + 10
    balances = company.accounts.balances
    assert balances[company.ana] == 1_000_000 - 2_199 - 20
    assert (balances[paid or company.bia], balances["fees"]) == (2_199, 20)
    with company.service.signed_in("ana"):
        listed = await company.terms.ListFees(terms_pb2.ListFeesRequest())
    assert terms_pb2.Fee(kind=kind, fixed_minor_units=10, basis_points=50) in listed.fees


async def test_a_scheduled_transfer_counts_on_its_day(company: Bank) -> None:
    await limit(company, "PER_DAY", 100)
    later = company.request(100)
    later.scheduled_for.CopyFrom(wire.timestamp(now_us() + 2 * DAY_US))
    scheduled = await company.create(later)

    assert await reason(company, company.request(100)) == ""
    again = company.request(1)
    again.scheduled_for.CopyFrom(later.scheduled_for)
    assert await reason(company, again) == "LIMIT_PER_DAY"
    await company.cancel(scheduled.transfer_id)
    assert await reason(company, again) == ""
