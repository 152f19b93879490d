"""What a transfer is, and who may ask for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from services.money import Money
from services.transfers.domain.transfers import LATEST_SCHEDULE_US, Account, Status

from .fakes import PAYEE, PAYER, a_transfer, an_account


def test_a_transfer_needs_two_accounts() -> None:
    with pytest.raises(InvalidArgument, match="two different accounts"):
        a_transfer(payee=PAYER)


@pytest.mark.parametrize("minor_units", [0, -1])
def test_a_transfer_moves_more_than_nothing(minor_units: int) -> None:
    with pytest.raises(InvalidArgument, match="more than nothing"):
        a_transfer(minor_units)


@pytest.mark.parametrize("when_us", [-1, 0, LATEST_SCHEDULE_US + 1])
def test_a_transfer_is_scheduled_within_a_year_from_now(when_us: int) -> None:
    with pytest.raises(InvalidArgument, match="scheduled"):
        a_transfer(scheduled_for_us=when_us).must_lie_ahead()


def test_a_request_names_one_transfer() -> None:
    transfer = a_transfer(100)
    transfer.must_repeat(replace(transfer, id="other", created_at_us=5).completed())

    for other in (
        replace(transfer, amount=Money(101, "BRL")),
        replace(transfer, payee="other"),
        replace(transfer, description="other"),
        replace(transfer, scheduled_for_us=1),
    ):
        with pytest.raises(AlreadyExists):
            other.must_repeat(transfer)


@pytest.mark.parametrize(
    ("payer", "payee", "reason"),
    [
        (None, an_account(PAYEE), "ACCOUNT_NOT_FOUND"),
        (an_account(PAYER, may_pay=None), an_account(PAYEE), "ACCOUNT_NOT_FOUND"),
        (an_account(PAYER, may_pay=False), an_account(PAYEE), "ROLE_MAY_NOT_PAY"),
        (an_account(PAYER), None, "PAYEE_NOT_FOUND"),
        (an_account(PAYER, is_open=False), an_account(PAYEE), "ACCOUNT_CLOSED"),
        (an_account(PAYER), an_account(PAYEE, is_open=False), "ACCOUNT_CLOSED"),
        (an_account(PAYER, currency="EUR"), an_account(PAYEE), "CURRENCY_MISMATCH"),
        (an_account(PAYER), an_account(PAYEE, currency="EUR"), "CURRENCY_MISMATCH"),
        (an_account(PAYER), an_account(PAYEE, may_pay=None), None),
    ],
)
def test_accounts_allow_a_transfer_or_say_why_not(
    payer: Account | None, payee: Account | None, reason: str | None
) -> None:
    accounts = {account.id: account for account in (payer, payee) if account}

    refusal = a_transfer().refusal(accounts)

    assert (refusal.reason if refusal else None) == reason


def test_a_payment_by_pix_needs_no_payee_here() -> None:
    transfer = a_transfer(pix_key="ana@example.com")

    assert transfer.refusal({PAYER: an_account(PAYER)}) is None


def test_only_a_scheduled_transfer_is_cancelled() -> None:
    scheduled = a_transfer(scheduled_for_us=1)

    assert scheduled.cancelled().cancelled().status is Status.CANCELLED
    with pytest.raises(FailedPrecondition, match="has begun"):
        a_transfer().cancelled()
