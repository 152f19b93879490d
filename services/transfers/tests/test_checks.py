"""What the ledger has and must not, or lacks, of a transfer is found out by its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from mesh.checks import Finding
from mesh.db import UnitOfWork, sql
from services.transfers import checks
from services.transfers.clients import CLEARING, FEES, Books
from services.transfers.domain.standings import LATE_US, Standing
from services.transfers.domain.transfers import Status, Transfer

from .driver import Bank
from .fakes import PAYEE, PAYER, a_transfer

PAID = a_transfer(100).completed()
BY_PIX = replace(a_transfer(100, pix_key="ana@example.com").completed(), fee=3)
FAILED = a_transfer(100).failed("INSUFFICIENT_FUNDS")


@pytest.mark.parametrize(
    ("transfer", "moved", "held"),
    [
        (PAID, [(PAYER, -100), (PAYEE, 100)], 0),
        (replace(PAID, status=Status.REVERSED), [(PAYER, -100), (PAYEE, 100)], 0),
        (BY_PIX, [(PAYER, -103), (CLEARING, 100), (FEES, 3)], 0),
        (FAILED, [], 0),
        (replace(FAILED, status=Status.CANCELLED), [], 0),
        (a_transfer(100), [], 100),
        (a_transfer(100), [(PAYER, -100), (PAYEE, 100)], 0),
    ],
)
def test_what_is_in_the_ledger_as_it_must_be_is_no_finding(
    transfer: Transfer, moved: list[tuple[str, int]], held: int
) -> None:
    assert checks.differing(transfer, Standing(moved=moved, held=held)) is None


@pytest.mark.parametrize(
    ("transfer", "moved", "held", "drift"),
    [
        (PAID, [], 0, 100),
        (PAID, [(PAYER, -99), (PAYEE, 99)], 0, 1),
        (PAID, [(PAYER, -100), ("somebody", 100)], 0, 100),
        (PAID, [(PAYER, -100), (PAYEE, 100), (PAYER, -100), (PAYEE, 100)], 0, 100),
        (PAID, [(PAYER, -100), (PAYEE, 100)], 7, 7),
        (BY_PIX, [(PAYER, -103), (CLEARING, 103)], 0, 3),
        (FAILED, [(PAYER, -100), (PAYEE, 100)], 0, 100),
        (FAILED, [], 100, 100),
        (a_transfer(100, scheduled_for_us=5), [(PAYER, -100), (PAYEE, 100)], 0, 100),
    ],
)
def test_what_is_not_as_it_must_be_is_told_with_how_much_money_it_is(
    transfer: Transfer, moved: list[tuple[str, int]], held: int, drift: int
) -> None:
    found = checks.differing(transfer, Standing(moved=moved, held=held))

    assert found is not None
    assert (found.subject, found.drift) == (transfer.id, drift)
    assert transfer.id in found.sentence


class TheBooks(Books):
    """Books that have the entry of every transfer, as it was asked for."""

    def __init__(self, bank: Bank) -> None:
        super().__init__(cast(Any, None))
        self.bank = bank

    async def standings(self, ids: Sequence[str]) -> list[Standing]:
        return [Standing(moved=[(self.bank.ana, -60), (self.bank.bia, 60)]) for _ in ids]


async def test_a_row_that_is_changed_is_found_and_so_is_one_that_waits_for_too_long(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "PART", 2)
    made = [(await bank.create(bank.request(60))).transfer_id for _ in range(1)]
    made += [(await bank.create(bank.request(10))).transfer_id for _ in range(2)]
    chassis = bank.service.chassis

    async def swept() -> list[Finding]:
        found, after = list[Finding](), ""
        while True:
            part = await checks.compare(chassis, TheBooks(bank), after)
            found += part.findings
            if not (after := part.after):
                return found

    assert [(each.subject, each.drift) for each in await swept()] == [
        (made[1], 50),
        (made[2], 50),
    ]

    async def unsettle(work: UnitOfWork) -> None:
        change = "UPDATE transfers SET status = 'pending', counted_at_us = counted_at_us - :late"
        await work.execute(sql(f"{change} WHERE id = :id"), late=LATE_US, id=made[0])

    assert not (await chassis.read(checks.late, "")).findings
    await chassis.transact(unsettle)
    [found] = (await chassis.read(checks.late, "")).findings
    assert found.subject == made[0]
