"""The migrations make the tables, and carry a ledger over as it was."""

from __future__ import annotations

import asyncio
import shutil
from functools import partial
from pathlib import Path

import pytest

from mesh.db import UnitOfWork, open_database, sql
from mesh.db.agree import differences
from mesh.db.migrate import migrate
from mesh.events.envelope import seal
from mesh.testing.postgres import postgres_server
from services.accounts import tables

from .ledger import Ledger

VERSIONS = Path(tables.__file__).parent / "migrations"
OLD = (
    "INSERT INTO accounts (id, company_id, currency, balance, held, floor, version, status,"
    " opened_at_us) VALUES ('ana', 'bakery', 'BRL', 60, 0, 0, 2, 'open', 1)",
    "INSERT INTO entries (id, transfer_id, description, counterparty, fingerprint, refused,"
    " posted_at_us) VALUES ('in', 't', 'pão', 'Pix', '', '', 5), ('out', '', '', '', '', '', 7)",
    "INSERT INTO postings (account_id, version, entry_id, minor_units, currency, balance_after)"
    " VALUES ('ana', 1, 'in', 100, 'BRL', 100), ('pix-clearing', 1, 'in', -100, 'BRL', -100),"
    " ('ana', 2, 'out', -40, 'BRL', 60), ('treasury', 1, 'out', 40, 'BRL', 40)",
    "UPDATE accounts SET balance = -100, version = 1 WHERE id = 'pix-clearing'",
    "UPDATE accounts SET balance = 40, version = 1 WHERE id = 'treasury'",
)


def test_tables_and_migrations_agree() -> None:
    assert differences(tables.Table.metadata, VERSIONS) == []


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_ledger_from_before_there_were_seals_is_sealed(kind: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/accounts.db"
    if kind == "postgresql":
        url = postgres_server().new_database()
    old = tmp_path / "old"
    old.mkdir()
    for name in ("0001_ledger.py", "0002_holds_and_reversals.py"):
        shutil.copy(VERSIONS / name, old)
    await asyncio.to_thread(migrate, url, old)
    await fill(url)

    await asyncio.to_thread(migrate, url, VERSIONS)

    database = await open_database(url, seal=partial(seal, source="accounts"))
    ledger = Ledger(database)
    assert await ledger.faults() == []
    assert (await ledger.balance_at("ana", 6)).balance.minor_units == 100
    await ledger.post("ana", "treasury", 10)
    assert (await ledger.account("ana")).posted_at_us == 7
    assert await ledger.faults() == []
    await database.close()


async def fill(url: str) -> None:
    async def unit(work: UnitOfWork) -> None:
        for statement in OLD:
            await work.execute(sql(statement))

    database = await open_database(url)
    await database.transact(unit)
    await database.close()
