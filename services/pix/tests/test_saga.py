"""How a payment reaches its payee."""

from __future__ import annotations

from services.pix.domain import Status
from services.pix.saga import credit_deposit, deliver_payment

from .fakes import FakeJournal, FakeLedger, FakeOutside, a_deposit, a_payment


async def test_a_payment_is_handed_over_outside() -> None:
    ledger, journal = FakeLedger(), FakeJournal()

    ended = await deliver_payment(a_payment(), journal, ledger, FakeOutside())

    assert ended.status is Status.SETTLED
    assert (journal.steps, ledger.credited) == (["deliver"], [])


async def test_the_outsides_refusal_is_the_payments_end() -> None:
    payment = a_payment("reject-ac03@sandbox.example")

    ended = await deliver_payment(payment, FakeJournal(), FakeLedger(), FakeOutside())

    assert (ended.status, ended.rejection_code) == (Status.REJECTED, "AC03")


async def test_a_payment_to_an_account_of_ours_stays_in_the_house() -> None:
    ledger, journal, payment = FakeLedger(), FakeJournal(), a_payment(account="account")

    ended = await deliver_payment(payment, journal, ledger, FakeOutside())

    assert ended.status is Status.SETTLED
    assert ledger.credited == [payment.as_deposit().id]


async def test_a_deposit_to_a_closed_account_is_sent_back() -> None:
    ended = await credit_deposit(a_deposit(), FakeJournal(), FakeLedger(closed=True))

    assert (ended.status, ended.rejection_code) == (Status.REJECTED, "ACCOUNT_CLOSED")


async def test_a_deposit_is_credited() -> None:
    ended = await credit_deposit(a_deposit(), FakeJournal(), FakeLedger())

    assert ended.status is Status.SETTLED
