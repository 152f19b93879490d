"""How a payment reaches its payee."""

from __future__ import annotations

import pytest

from services.pix.domain.payments import Status
from services.pix.domain.rail import REPEATED, Answer, Messages, Outcome
from services.pix.saga import credit_deposit, deliver_payment

from .fakes import SETTLED, UNKNOWN, FakeJournal, FakeLedger, FakeRail, a_deposit, a_payment

REJECTED = Answer(Outcome.REJECTED, "AC03")
TURNED_AWAY = Answer(Outcome.REJECTED, REPEATED)


@pytest.mark.parametrize(
    ("rail", "status", "steps", "times_sent"),
    [
        (FakeRail(SETTLED), Status.SETTLED, ["deliver"], 1),
        (FakeRail(REJECTED), Status.REJECTED, ["deliver"], 1),
        (FakeRail(UNKNOWN, UNKNOWN, SETTLED), Status.SETTLED, ["deliver", "ask"], 1),
        (FakeRail(UNKNOWN, UNKNOWN, REJECTED), Status.REJECTED, ["deliver", "ask"], 1),
        (FakeRail(TURNED_AWAY, SETTLED), Status.SETTLED, ["deliver", "ask"], 1),
        (FakeRail(UNKNOWN, None, SETTLED), Status.SETTLED, ["deliver", "ask"], 2),
    ],
    ids=["settled", "rejected", "lost-settled", "lost-rejected", "repeated", "never-arrived"],
)
async def test_what_became_of_a_payment_is_asked_and_never_guessed(
    rail: FakeRail, status: Status, steps: list[str], times_sent: int
) -> None:
    ledger, journal, payment = FakeLedger(), FakeJournal(), a_payment()

    ended = await deliver_payment(payment, journal, ledger, Messages(rail))

    assert (ended.status, journal.steps) == (status, steps)
    assert ended.rejection_code == ("AC03" if status is Status.REJECTED else "")
    assert rail.sent == [payment.end_to_end_id] * times_sent
    assert ledger.credited == []


async def test_a_payment_to_an_account_of_ours_stays_in_the_house() -> None:
    ledger, journal, payment = FakeLedger(), FakeJournal(), a_payment(account="account")
    rail = FakeRail(SETTLED)

    ended = await deliver_payment(payment, journal, ledger, Messages(rail))

    assert ended.status is Status.SETTLED
    assert (ledger.credited, rail.sent) == ([payment.as_deposit().id], [])


async def test_a_deposit_to_a_closed_account_is_sent_back() -> None:
    rail, deposit = FakeRail(SETTLED), a_deposit()

    ended = await credit_deposit(deposit, FakeJournal(), FakeLedger(closed=True), Messages(rail))

    assert (ended.status, ended.rejection_code) == (Status.REJECTED, "ACCOUNT_CLOSED")
    assert rail.answered == {deposit.end_to_end_id: Answer(Outcome.REJECTED, "AC07")}


async def test_a_deposit_is_credited_and_the_rail_told() -> None:
    rail, deposit = FakeRail(SETTLED), a_deposit()

    ended = await credit_deposit(deposit, FakeJournal(), FakeLedger(), Messages(rail))

    assert ended.status is Status.SETTLED
    assert rail.answered == {deposit.end_to_end_id: SETTLED}
