"""What the ledger tells again is what it told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.protobuf.message import Message

from bank.accounts.v1 import events_pb2 as events
from mesh.events.backfill import Facts
from mesh.testing.harness import Running, running
from services.accounts.app import build
from services.accounts.facts import FACTS

from .test_api import caller, entry, open_account


@pytest.fixture
async def accounts(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(build, tmp_path) as service:
        yield service


async def all_of(accounts: Running, facts: Facts, size: int) -> list[tuple[Message, int]]:
    found: list[tuple[Message, int]] = []
    mark = ""
    while page := await accounts.database.read(facts.page, mark, size):
        assert len(page) <= size
        mark = page[-1].mark
        found += [(fact.event, fact.version) for fact in page]
    return found


async def test_what_is_told_again_is_what_was_told(accounts: Running) -> None:
    first, second = await open_account(accounts, "ana"), await open_account(accounts, "bia")
    pix = caller(accounts, "pix")
    for amount in (500, 20, 3):
        await pix.PostEntry(entry("pix-clearing", first, amount))
    await pix.PostEntry(entry(first, second, 7))
    told = {
        event.data.account_id: event.data for event in await accounts.told(events.AccountOpened)
    }
    opened, _, posted = FACTS
    again = await all_of(accounts, opened, 1)
    assert [version for _, version in again] == [0] * len(told)
    for event, _ in again:
        assert isinstance(event, events.AccountOpened)
        was = told[event.account_id]
        assert (event.company_id, event.currency_code) == (was.company_id, was.currency_code)
    entries = [each.data for each in await accounts.told(events.EntryPosted)]
    entries.sort(key=lambda event: (event.account_id, event.version))
    assert len(entries) == 8
    assert await all_of(accounts, posted, 3) == [(event, event.version) for event in entries]
