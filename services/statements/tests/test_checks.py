"""What is changed in a statement's lines, or in the ledger behind them, is found out by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from bank.accounts.v1.ledger_pb2_grpc import LedgerServiceStub
from mesh.chassis import Chassis
from mesh.checks import Finding
from mesh.db import UnitOfWork, sql
from services.statements import checks, store
from services.statements.clients import Ledger
from services.statements.domain import UNSEALED, Line

from .driver import Statements, brl

DAMAGES = [
    ("minor_units = minor_units + 5", "is -5 off"),
    ("balance_after = balance_after + 5", "is 5 off"),
    ("description = 'something else'", "not what the ledger has sealed"),
    ("counterparty = 'somebody else'", "not what the ledger has sealed"),
    ("occurred_at_us = occurred_at_us + 1", "not what the ledger has sealed"),
    ("seal = :seal", "not what the ledger has sealed"),
    ("version = 9", "follows line"),
]
LINE = Line(
    account_id="01a21385-968c-77ac-8155-9a8369fbe447",
    version=3,
    entry_id="01a21385-969a-74cd-b081-715fd4040433",
    transfer_id="01a21385-969a-74cd-b081-715fd4040433",
    amount=brl(-25_00),
    balance_after=brl(75_00),
    counterparty="Padaria São João",
    description="pão",
    occurred_at_us=1_800_000_000_000_001,
)
# It is that of the same line in the tests of accounts.
SEAL = "0ae715dbc2ccd02f4c0c2971db054c73fd1a99063bdf39cacf21b77159d60614"


class SealedLedger(Ledger):
    """A ledger that has these seals."""

    def __init__(self) -> None:
        super().__init__(cast(Any, LedgerServiceStub))
        self.known: dict[tuple[str, int], bytes] = {}

    async def seals(self, keys: Sequence[tuple[str, int]]) -> Sequence[bytes]:
        return [self.known.get(key, b"") for key in keys]


class Undone(Exception):
    """Takes back what a unit has done, and tells what was found meanwhile."""

    def __init__(self, found: Sequence[Finding]) -> None:
        super().__init__()
        self.found = found


async def sealed(statements: Statements, count: int) -> SealedLedger:
    """Tells the statement of some entries, sealed as the ledger does it."""
    ledger, seal = SealedLedger(), UNSEALED
    for version in range(1, count + 1):
        posted = statements.posted(version)
        seal = store.to_line(row_of(posted)).sealed(seal)
        posted.seal = ledger.known[statements.account, version] = seal
        await statements.apply(posted)
    return ledger


def row_of(posted: Any) -> Any:
    return {
        "account_id": posted.account_id,
        "version": posted.version,
        "entry_id": posted.entry_id,
        "transfer_id": posted.transfer_id,
        "minor_units": posted.amount.minor_units,
        "balance_after": posted.balance_after.minor_units,
        "currency": "BRL",
        "counterparty": posted.counterparty,
        "description": posted.description,
        "occurred_at_us": posted.occurred_at.ToMicroseconds(),
        "seal": b"",
    }


async def after(statements: Statements, change: str) -> str:
    """What would be found if the third line were changed."""

    async def unit(work: UnitOfWork) -> None:
        given = {"seal": bytes(32)} if ":seal" in change else {}
        statement = f"UPDATE lines SET {change} WHERE version = 3"
        assert await work.execute(sql(statement), **given) == 1
        raise Undone((await checks.lines(work, "")).findings)

    try:
        await statements.database.transact(unit)
    except Undone as undone:
        return " ".join(finding.sentence for finding in undone.found)
    raise AssertionError("the unit is undone")


async def test_every_change_of_a_line_is_found_by_name(statements: Statements) -> None:
    await sealed(statements, 5)
    assert (await statements.database.read(checks.lines, "")).findings == []

    for change, said in DAMAGES:
        text = await after(statements, change)
        assert said in text, change
        assert statements.account in text


async def test_lines_from_before_there_were_seals_are_let_be(statements: Statements) -> None:
    await statements.post(1, 2)

    assert (await statements.database.read(checks.lines, "")).findings == []
    chassis = cast(Chassis, statements.database)
    assert (await checks.compare(chassis, SealedLedger(), "")).findings == []


async def test_a_statement_that_is_not_the_ledgers_is_found(statements: Statements) -> None:
    ledger = await sealed(statements, 3)
    chassis = cast(Chassis, statements.database)
    assert (await checks.compare(chassis, ledger, "")).findings == []

    for seal in (bytes(32), b""):
        ledger.known[statements.account, 3] = seal
        (finding,) = (await checks.compare(chassis, ledger, "")).findings
        assert finding.subject == statements.account
        assert "at line 3, of entry entry-3" in finding.sentence


async def test_many_lines_are_looked_at_in_parts(statements: Statements, monkeypatch: Any) -> None:
    await sealed(statements, 7)
    monkeypatch.setattr(checks, "PART", 3)
    after, parts = "", 0
    while True:
        part = await statements.database.read(checks.lines, after)
        assert part.findings == []
        after, parts = part.after, parts + 1
        if not after:
            break
    assert parts == 3


def test_a_line_is_sealed_as_the_contract_says() -> None:
    assert LINE.sealed(UNSEALED).hex() == SEAL
