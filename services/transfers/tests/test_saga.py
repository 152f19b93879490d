"""How money moves, by the rule alone."""

from __future__ import annotations

import pytest

from mesh.errors import FailedPrecondition, Refused, Transient
from services.transfers.domain.transfers import Status, Transfer
from services.transfers.saga import move_money

from .fakes import FakeCalendar, FakeJournal, FakeLedger, FakeRail, a_transfer

REJECTED = FailedPrecondition("AC03", "The payee's bank refused the payment.")
PENDING = Transient("PAYMENT_PENDING", "The rail has not answered yet.")


class Bank:
    """All that a transfer needs."""

    def __init__(self, ledger: FakeLedger | None = None, rail: FakeRail | None = None) -> None:
        self.journal = FakeJournal()
        self.ledger = ledger or FakeLedger()
        self.rail = rail or FakeRail()
        self.calendar = FakeCalendar()

    async def move(self, transfer: Transfer) -> Transfer:
        return await move_money(transfer, self.journal, self.calendar.begin, self.ledger, self.rail)


async def test_within_the_bank_money_moves_in_one_entry() -> None:
    bank = Bank()

    ended = await bank.move(a_transfer(100))

    assert ended.status is Status.COMPLETED
    assert bank.ledger.calls == ["post"]


async def test_a_refused_entry_fails_the_transfer_with_the_ledgers_reason() -> None:
    bank = Bank()

    ended = await bank.move(a_transfer(101))

    assert (ended.status, ended.failure_reason) == (Status.FAILED, "INSUFFICIENT_FUNDS")


async def test_out_of_the_bank_money_is_held_sent_and_settled() -> None:
    bank = Bank(rail=FakeRail([PENDING, PENDING]))

    ended = await bank.move(a_transfer(100, pix_key="ana@example.com"))

    assert ended.status is Status.COMPLETED
    assert bank.ledger.calls == ["hold", "settle"]
    assert (bank.ledger.balance, bank.rail.sent) == (0, 1)


async def test_a_payment_that_the_rail_refuses_gives_the_money_back() -> None:
    bank = Bank(rail=FakeRail([PENDING, REJECTED]))

    ended = await bank.move(a_transfer(100, pix_key="ana@example.com"))

    assert (ended.status, ended.failure_reason) == (Status.FAILED, "AC03")
    assert bank.ledger.calls == ["hold", "release"]
    assert (bank.ledger.balance, bank.ledger.held) == (100, 0)


async def test_a_refused_hold_is_released_all_the_same_and_nothing_is_sent() -> None:
    bank = Bank()

    ended = await bank.move(a_transfer(101, pix_key="ana@example.com"))

    assert ended.failure_reason == "INSUFFICIENT_FUNDS"
    assert (bank.ledger.calls, bank.rail.sent) == (["hold", "release"], 0)


async def test_a_refused_settlement_is_no_end_for_the_money_has_left() -> None:
    class Stubborn(FakeLedger):
        async def settle(self, transfer: Transfer) -> None:
            raise FailedPrecondition("HOLD_RELEASED", "The hold was released.")

    bank = Bank(Stubborn())

    with pytest.raises(Refused, match="released"):
        await bank.move(a_transfer(100, pix_key="ana@example.com"))
    assert bank.ledger.calls == ["hold"]


async def test_an_unavailable_ledger_is_asked_again() -> None:
    ended = await Bank(FakeLedger(faults=3)).move(a_transfer())

    assert ended.status is Status.COMPLETED


async def test_after_a_restart_no_step_is_taken_twice() -> None:
    bank, transfer = Bank(), a_transfer(100, pix_key="ana@example.com")
    await bank.journal.step("hold", bank.ledger.hold, transfer)
    await bank.journal.step("send", bank.rail.send, transfer)

    ended = await bank.move(transfer)

    assert ended.status is Status.COMPLETED
    assert (bank.ledger.calls, bank.rail.sent) == (["hold", "settle"], 1)


async def test_a_scheduled_transfer_begins_and_then_moves() -> None:
    bank = Bank()

    ended = await bank.move(a_transfer(scheduled_for_us=1))

    assert ended.status is Status.COMPLETED
    assert bank.calendar.begun == 1


async def test_a_cancelled_transfer_moves_nothing() -> None:
    bank = Bank()
    bank.calendar.cancelled = True

    ended = await bank.move(a_transfer(scheduled_for_us=1))

    assert ended.status is Status.CANCELLED
    assert bank.ledger.calls == []
