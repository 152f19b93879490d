"""Whatever is changed in the ledger's rows is found out, by name, and nothing else is."""

from __future__ import annotations

import pytest

from mesh.checks import Finding
from mesh.db import UnitOfWork, sql
from services.accounts import checks
from services.accounts.domain.books import Line
from services.accounts.domain.chart import UNSEALED

from .ledger import Ledger, a_hold, an_entry, brl

ROWS = (
    "UPDATE postings SET {} WHERE account_id = :id AND version = 2",
    "UPDATE entries SET {} WHERE id = :entry",
    "UPDATE accounts SET {} WHERE id = :id",
)

# Each is what somebody changes behind the back of the rules, the check that finds it, what is said.
DAMAGES = [
    ("postings", "minor_units = minor_units + 5", "entries", "sum to 5"),
    ("postings", "minor_units = minor_units + 5", "lines", "leaves 40, -5 off"),
    ("postings", "balance_after = balance_after + 5", "lines", "leaves 45, 5 off"),
    ("postings", "counterparty = 'somebody else'", "lines", "not what was sealed"),
    ("postings", "currency = 'EUR'", "lines", "not what was sealed"),
    ("postings", "version = 9", "lines", "follows line"),
    ("postings", "seal = :seal", "lines", "not what was sealed"),
    ("postings", "account_id = 'treasury'", "entries", "not what was asked for"),
    ("entries", "description = 'rent'", "lines", "not what was sealed"),
    ("entries", "description = 'rent'", "entries", "not what was asked for"),
    ("entries", "counterparty = 'somebody else'", "entries", "not what was asked for"),
    ("entries", "reverses = id", "entries", "not what was asked for"),
    ("entries", "posted_at_us = posted_at_us + 1", "lines", "not what was sealed"),
    ("entries", "refused = 'ACCOUNT_CLOSED'", "entries", "was refused, and has sides on"),
    ("accounts", "balance = balance + 5", "accounts", "of entry {entry}, leaves 40"),
    ("accounts", "balance = balance + 5", "total", "sums to 5"),
    ("accounts", "version = version + 1", "accounts", "The last line of account"),
    ("accounts", "version = version - 1", "accounts", "lines beyond the last one"),
    ("accounts", "held = held + 5", "accounts", "holds 15, and its open holds are 10"),
    ("accounts", "seal = :seal", "accounts", "The seal of account"),
]
# It is that of the same line in the tests of statements.
SEAL = "0ae715dbc2ccd02f4c0c2971db054c73fd1a99063bdf39cacf21b77159d60614"


class Undone(Exception):
    """Takes back what a unit has done, and tells what was found meanwhile."""

    def __init__(self, found: list[Finding]) -> None:
        super().__init__()
        self.found = found


async def look(work: UnitOfWork, name: str) -> list[Finding]:
    """Makes one check, all of it."""
    part = await checks.SWEEPS[name](work, "")
    found = list(part.findings)
    while part.after:
        part = await checks.SWEEPS[name](work, part.after)
        found += part.findings
    return found


class Damaged(Ledger):
    """A ledger whose rows can be changed."""

    async def unprotect(self) -> None:
        for table in ("entries", "postings"):
            names = [f"{table}_update", f"{table}_delete"]
            on = ""
            if self.database.dialect == "postgresql":
                names, on = [f"{table}_append_only"], f" ON {table}"
            for name in names:
                await self.run(f"DROP TRIGGER {name}{on}")

    async def look(self, name: str) -> list[Finding]:
        return await self.database.read(look, name)

    async def after(self, statement: str, given: dict[str, object], name: str) -> list[Finding]:
        """What a check would find if a statement were run."""

        async def unit(work: UnitOfWork) -> None:
            assert await work.execute(sql(statement), **given) == 1, statement
            raise Undone(await look(work, name))

        with pytest.raises(Undone) as undone:
            await self.database.transact(unit)
        return undone.value.found


@pytest.fixture
async def damaged(ledger: Ledger) -> Damaged:
    ledger = Damaged(ledger.database)
    await ledger.unprotect()
    return ledger


async def a_payment(ledger: Ledger) -> tuple[str, str]:
    """An account of which 60 of 100 were paid, with 10 held, and another paid it back."""
    payer, payee = await ledger.open(100), await ledger.open()
    entry = an_entry(payer, payee, 60)
    await ledger.post_entry(entry)
    await ledger.hold(a_hold(payer, 10))
    return payer, entry.id


async def test_every_change_of_a_row_is_found_by_name(damaged: Damaged) -> None:
    account, entry = await a_payment(damaged)
    for name in checks.SWEEPS:
        assert await damaged.look(name) == []

    for table, change, check, said in DAMAGES:
        statement = next(row for row in ROWS if f" {table} " in row).format(change)
        given: dict[str, object] = {"id": account, "entry": entry, "seal": bytes(32)}
        used = {key: value for key, value in given.items() if f":{key}" in statement}
        findings = await damaged.after(statement, used, check)

        text = " ".join(finding.sentence for finding in findings)
        assert said.format(entry=entry) in text, (table, change, check, text)
        assert check == "total" or account in text or "treasury" in text
        assert check not in ("entries", "lines") or entry in text


async def test_what_is_taken_away_is_found(damaged: Damaged) -> None:
    account, entry = await a_payment(damaged)
    await damaged.run("DELETE FROM entries WHERE id = :entry", entry=entry)

    for check in ("entries", "lines"):
        text = " ".join(finding.sentence for finding in await damaged.look(check))
        assert entry in text
        assert account in text


async def test_new_lines_are_looked_at_before_their_turn(damaged: Damaged) -> None:
    account, _ = await a_payment(damaged)
    statement = "UPDATE postings SET minor_units = -50 WHERE account_id = :id AND version = 2"
    await damaged.run(statement, id=account)

    async def look_at(version: int) -> list[Finding]:
        part = await damaged.database.read(checks.recent_lines, [(account, version)])
        return list(part.findings)

    assert [finding.subject for finding in await look_at(1)] == [f"{account}/2"]
    assert await look_at(3) == []


async def test_a_large_ledger_is_looked_at_in_parts(
    damaged: Damaged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "PART", 3)
    accounts = [await damaged.open(100) for _ in range(4)]
    for turn in range(8):
        await damaged.post(accounts[turn % 4], accounts[(turn + 1) % 4], 10)
    for name in checks.SWEEPS:
        assert await damaged.look(name) == []
    await damaged.run("UPDATE postings SET minor_units = 11 WHERE minor_units = 10")

    assert len(await damaged.look("entries")) == 8
    assert len(await damaged.look("lines")) == 8
    assert len((await damaged.database.read(checks.verify)).faults) == 16


async def test_nobody_has_more_than_a_trial_balance_says(ledger: Ledger) -> None:
    payer = await ledger.open(100)
    await ledger.post(payer, "fees", 7)
    await ledger.open(50)

    found = await ledger.database.read(checks.trial_balance)

    lines = {line.kind: (line.accounts, line.debit, line.credit) for line in found}
    assert lines == {
        "clearing": (1, 150, 0),
        "customer": (2, 0, 143),
        "fees": (1, 0, 7),
        "treasury": (1, 0, 0),
    }


def test_a_line_is_sealed_as_the_contract_says() -> None:
    line = Line(
        account="01a21385-968c-77ac-8155-9a8369fbe447",
        version=3,
        entry_id="01a21385-969a-74cd-b081-715fd4040433",
        transfer="01a21385-969a-74cd-b081-715fd4040433",
        amount=brl(-25_00),
        balance=75_00,
        counterparty="Padaria São João",
        description="pão",
        posted_at_us=1_800_000_000_000_001,
    )

    assert line.sealed(UNSEALED).hex() == SEAL
