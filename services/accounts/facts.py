"""What the ledger tells again: accounts as they are, and every posting under its version."""

from __future__ import annotations

from collections.abc import Sequence

from bank.accounts.v1 import events_pb2 as events
from mesh.db import Row, UnitOfWork, sql
from mesh.events.backfill import Fact, Facts
from services import wire
from services.money import Money

OPENED = sql(
    "SELECT id, company_id, currency, opened_at_us, COALESCE((SELECT MIN(user_id) FROM memberships"
    " WHERE memberships.company_id = accounts.company_id AND role = 'OWNER'), '') AS owner_id"
    " FROM accounts WHERE company_id IS NOT NULL AND id > :after ORDER BY id LIMIT :most"
)
CLOSED = sql(
    "SELECT id, posted_at_us FROM accounts WHERE status = 'closed' AND company_id IS NOT NULL"
    " AND id > :after ORDER BY id LIMIT :most"
)
POSTED = sql(
    "SELECT postings.*, transfer_id, description, posted_at_us, reverses"
    " FROM postings JOIN entries ON entries.id = postings.entry_id"
    " WHERE account_id > :account OR (account_id = :account AND version > :version)"
    " ORDER BY account_id, version LIMIT :most"
)


async def opened(work: UnitOfWork, after: str, most: int) -> Sequence[Fact]:
    return [
        Fact(
            event=events.AccountOpened(
                account_id=row["id"],
                company_id=row["company_id"],
                owner_id=row["owner_id"],
                currency_code=row["currency"],
            ),
            version=0,
            time_us=row["opened_at_us"],
            mark=row["id"],
        )
        for row in await work.fetch_all(OPENED, after=after, most=most)
    ]


async def closed(work: UnitOfWork, after: str, most: int) -> Sequence[Fact]:
    return [
        Fact(
            event=events.AccountClosed(account_id=row["id"]),
            version=0,
            time_us=row["posted_at_us"],
            mark=row["id"],
        )
        for row in await work.fetch_all(CLOSED, after=after, most=most)
    ]


async def posted(work: UnitOfWork, after: str, most: int) -> Sequence[Fact]:
    account, _, version = after.partition("/")
    rows = await work.fetch_all(POSTED, account=account, version=int(version or 0), most=most)
    return [
        Fact(
            event=to_event(row),
            version=row["version"],
            time_us=row["posted_at_us"],
            mark=f"{row['account_id']}/{row['version']}",
        )
        for row in rows
    ]


def to_event(row: Row) -> events.EntryPosted:
    return events.EntryPosted(
        account_id=row["account_id"],
        entry_id=row["entry_id"],
        transfer_id=row["transfer_id"],
        amount=wire.to_wire(Money(row["minor_units"], row["currency"])),
        balance_after=wire.to_wire(Money(row["balance_after"], row["currency"])),
        version=row["version"],
        counterparty=row["counterparty"],
        description=row["description"],
        occurred_at=wire.timestamp(row["posted_at_us"]),
        reverses_entry_id=row["reverses"],
        seal=row["seal"],
    )


FACTS = (
    Facts(of=events.AccountOpened, page=opened),
    Facts(of=events.AccountClosed, page=closed),
    Facts(of=events.EntryPosted, page=posted),
)
