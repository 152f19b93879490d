"""Where the ledger is kept, and the one place that changes a balance."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar

from bank.accounts.v1 import events_pb2 as events
from mesh.db import Row, UnitOfWork, sql
from services import wire
from services.money import Money

from .domain import (
    BALANCE_LIMIT,
    PAYING_ROLES,
    Account,
    Answer,
    Books,
    Entry,
    Hold,
    HoldStatus,
    Posting,
    Report,
    refusal,
)

P = ParamSpec("P")
T = TypeVar("T")


ENTER = sql(
    "INSERT INTO entries (id, transfer_id, description, counterparty, fingerprint, refused,"
    " posted_at_us, reverses) VALUES (:id, :transfer, :description, :counterparty, :fingerprint,"
    " :refused, :at_us, :reverses) ON CONFLICT (id) DO NOTHING"
)
ENTRY = sql("SELECT * FROM entries WHERE id = :id AND refused = ''")
SIDES = sql("SELECT * FROM postings WHERE entry_id = :id ORDER BY account_id, version")
ANSWER = sql("SELECT fingerprint, refused, posted_at_us FROM entries WHERE id = :id")
CHANGE = sql(
    "UPDATE accounts SET balance = balance + :amount, held = held - :unheld, version = version + 1"
    " WHERE id = :id AND status = 'open' AND currency = :currency"
    " AND balance + :amount - held + :unheld >= floor AND balance + :amount <= :limit"
    " RETURNING balance, version"
)
WRITE = sql(
    "INSERT INTO postings (account_id, version, entry_id, minor_units, currency, balance_after)"
    " VALUES (:account, :version, :entry, :amount, :currency, :balance)"
)
ACCOUNT = sql("SELECT * FROM accounts WHERE id = :id FOR UPDATE")
OPEN = sql(
    "INSERT INTO accounts (id, company_id, currency, balance, held, floor, version, status,"
    " opened_at_us) VALUES (:id, :company, :currency, 0, 0, 0, 0, 'open', :at_us)"
    " ON CONFLICT (company_id) DO NOTHING"
)
CLOSE = sql("UPDATE accounts SET status = 'closed' WHERE id = :id")

HOLD = sql("SELECT * FROM holds WHERE id = :id FOR UPDATE")
KEEP_HOLD = sql(
    "INSERT INTO holds (id, account_id, minor_units, currency, status, expires_at_us)"
    " VALUES (:id, :account, :amount, :currency, :status, :expires_at) ON CONFLICT (id) DO NOTHING"
)
OVERDUE = sql(
    "SELECT * FROM holds WHERE status = 'open' AND expires_at_us > 0 AND expires_at_us <= :at_us"
    " ORDER BY account_id, id LIMIT :limit FOR UPDATE"
)
SET_ASIDE = sql(
    "UPDATE accounts SET held = held + :amount WHERE id = :id AND status = 'open'"
    " AND currency = :currency AND balance - held - :amount >= floor"
)
FREE = sql("UPDATE accounts SET held = held - :amount WHERE id = :id")
END_HOLD = sql("UPDATE holds SET status = :status WHERE id = :id")

MEMBER = sql(
    "INSERT INTO memberships (user_id, company_id, role) VALUES (:user, :company, :role)"
    " ON CONFLICT (user_id, company_id) DO UPDATE SET role = excluded.role"
)
NO_MEMBER = sql("DELETE FROM memberships WHERE user_id = :user AND company_id = :company")
ACCOUNTS_OF = sql(
    "SELECT accounts.* FROM accounts JOIN memberships USING (company_id)"
    " WHERE memberships.user_id = :user ORDER BY opened_at_us, id"
)
DESCRIBE = sql(
    "SELECT accounts.*, role FROM accounts LEFT JOIN memberships"
    " ON memberships.company_id = accounts.company_id AND memberships.user_id = :user"
    " WHERE id = :id"
)
TOTALS = sql(
    "SELECT (SELECT COUNT(*) FROM entries WHERE refused = '') AS entries,"
    " (SELECT COUNT(*) FROM accounts) AS accounts,"
    " (SELECT CAST(COALESCE(SUM(minor_units), 0) AS BIGINT) FROM postings) AS total"
)
# Each finds things of which its sentence is true.
FAULTS = {
    "The postings of entry {id} do not sum to zero.": (
        "SELECT entry_id AS id FROM postings GROUP BY entry_id, currency"
        " HAVING SUM(minor_units) <> 0"
    ),
    "Entry {id} has too few postings, or was refused and has some.": (
        "SELECT entries.id FROM entries LEFT JOIN postings ON entry_id = entries.id"
        " GROUP BY entries.id, refused HAVING (refused = '') <> (COUNT(entry_id) >= 2)"
        " OR (refused <> '' AND COUNT(entry_id) > 0)"
    ),
    "The postings of {id} belong to no entry.": (
        "SELECT DISTINCT entry_id AS id FROM postings WHERE NOT EXISTS"
        " (SELECT 1 FROM entries WHERE entries.id = entry_id)"
    ),
    "The balance of account {id} is not the sum of its postings.": (
        "SELECT accounts.id FROM accounts LEFT JOIN postings"
        " ON account_id = accounts.id AND postings.currency = accounts.currency"
        " GROUP BY accounts.id, balance HAVING balance <> COALESCE(SUM(minor_units), 0)"
    ),
    "The versions of account {id} have a gap.": (
        "SELECT accounts.id FROM accounts LEFT JOIN postings ON account_id = accounts.id"
        " GROUP BY accounts.id, accounts.version HAVING accounts.version <> COUNT(account_id)"
        " OR accounts.version <> COALESCE(MAX(postings.version), 0)"
    ),
    "A line of account {id} has not the balance of the lines up to it.": (
        "SELECT DISTINCT account_id AS id FROM (SELECT account_id, balance_after,"
        " SUM(minor_units) OVER (PARTITION BY account_id ORDER BY version) AS balance"
        " FROM postings) AS lines WHERE balance <> balance_after"
    ),
    "Account {id} does not hold the sum of its open holds.": (
        "SELECT accounts.id FROM accounts LEFT JOIN holds"
        " ON account_id = accounts.id AND holds.status = 'open'"
        " GROUP BY accounts.id, held HAVING held <> COALESCE(SUM(minor_units), 0)"
    ),
}

# The first hundred will do.
CHECKS = [(sentence, sql(f"{found} ORDER BY 1 LIMIT 100")) for sentence, found in FAULTS.items()]


class LedgerBooks:
    """The books, in tables."""

    def __init__(self, work: UnitOfWork) -> None:
        self.work = work

    async def account(self, account_id: str) -> Account | None:
        row = await self.work.fetch_one(ACCOUNT, id=account_id)
        return to_account(row) if row else None

    async def close(self, account: Account) -> None:
        await self.work.execute(CLOSE, id=account.id)
        self.work.publish(events.AccountClosed(account_id=account.id))

    async def enter(self, entry: Entry, refused: str = "") -> bool:
        return bool(
            await self.work.execute(
                ENTER,
                id=entry.id,
                transfer=entry.transfer,
                description=entry.description,
                counterparty=entry.counterparty,
                fingerprint=entry.fingerprint(),
                refused=refused,
                at_us=entry.posted_at_us,
                reverses=entry.reverses or None,
            )
        )

    async def answer(self, entry_id: str) -> Answer:
        row = await self.work.fetch_one(ANSWER, id=entry_id)
        assert row is not None, "an answer that was kept is never removed"
        return Answer(row["fingerprint"], row["refused"], row["posted_at_us"])

    async def entry(self, entry_id: str) -> Entry | None:
        row = await self.work.fetch_one(ENTRY, id=entry_id)
        return to_entry(row, await self.work.fetch_all(SIDES, id=entry_id)) if row else None

    async def write(self, entry: Entry, posting: Posting, unheld: int) -> bool:
        account, amount = posting.account, posting.amount.minor_units
        currency = posting.amount.currency
        row = await self.work.fetch_one(
            CHANGE, id=account, amount=amount, currency=currency, unheld=unheld, limit=BALANCE_LIMIT
        )
        if row is None:
            return False
        balance, version = row["balance"], row["version"]
        await self.work.execute(
            WRITE,
            account=account,
            version=version,
            entry=entry.id,
            amount=amount,
            currency=currency,
            balance=balance,
        )
        self.work.publish(posted(entry, posting, balance, version), version=version)
        return True

    async def hold(self, hold_id: str) -> Hold | None:
        row = await self.work.fetch_one(HOLD, id=hold_id)
        return to_hold(row) if row else None

    async def keep(self, hold: Hold) -> bool:
        return bool(
            await self.work.execute(
                KEEP_HOLD,
                id=hold.id,
                account=hold.account,
                amount=hold.amount.minor_units,
                currency=hold.amount.currency,
                status=hold.status,
                expires_at=hold.expires_at_us,
            )
        )

    async def set_aside(self, hold: Hold) -> bool:
        account, amount = hold.account, hold.amount
        self.work.publish(
            events.HoldPlaced(account_id=account, hold_id=hold.id, amount=wire.to_wire(amount))
        )
        return bool(
            await self.work.execute(
                SET_ASIDE, id=account, amount=amount.minor_units, currency=amount.currency
            )
        )

    async def give_back(self, hold: Hold) -> None:
        await self.work.execute(END_HOLD, id=hold.id, status=HoldStatus.RELEASED)
        await self.work.execute(FREE, id=hold.account, amount=hold.amount.minor_units)
        self.work.publish(events.HoldReleased(account_id=hold.account, hold_id=hold.id))

    async def spend(self, hold: Hold) -> None:
        await self.work.execute(END_HOLD, id=hold.id, status=HoldStatus.POSTED)

    async def overdue(self, at_us: int, limit: int) -> list[Hold]:
        rows = await self.work.fetch_all(OVERDUE, at_us=at_us, limit=limit)
        return [to_hold(row) for row in rows]


def by_the_books(
    rule: Callable[Concatenate[Books, P], Awaitable[T]],
) -> Callable[Concatenate[UnitOfWork, P], Awaitable[T]]:
    """Makes a rule of the ledger a unit of work."""

    async def unit(work: UnitOfWork, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await rule(LedgerBooks(work), *args, **kwargs)

    return unit


async def open_account(work: UnitOfWork, account: Account, owner_id: str, at_us: int) -> None:
    """Opens a company's account, unless it has one."""
    if await work.execute(
        OPEN, id=account.id, company=account.company_id, currency=account.currency, at_us=at_us
    ):
        work.publish(
            events.AccountOpened(
                account_id=account.id,
                company_id=account.company_id,
                owner_id=owner_id,
                currency_code=account.currency,
            )
        )


async def set_role(work: UnitOfWork, user_id: str, company_id: str, role: str) -> None:
    await work.execute(MEMBER, user=user_id, company=company_id, role=role)


async def end_role(work: UnitOfWork, user_id: str, company_id: str) -> None:
    await work.execute(NO_MEMBER, user=user_id, company=company_id)


async def accounts_of(work: UnitOfWork, user_id: str) -> list[Account]:
    """Reads the accounts of a user's companies, in the order in which they were opened."""
    return [to_account(row) for row in await work.fetch_all(ACCOUNTS_OF, user=user_id)]


async def describe(work: UnitOfWork, account_id: str, user_id: str) -> tuple[Account, bool]:
    """Reads an account, and whether the user may pay from it."""
    row = await work.fetch_one(DESCRIBE, id=account_id, user=user_id)
    if row is None:
        raise refusal("ACCOUNT_NOT_FOUND")
    return to_account(row), row["role"] in PAYING_ROLES


async def verify(work: UnitOfWork) -> Report:
    """Checks every rule of the ledger against one snapshot of its rows."""
    totals = await work.fetch_one(TOTALS)
    assert totals is not None, "totals are always one row"
    faults = [
        sentence.format(id=row["id"])
        for sentence, statement in CHECKS
        for row in await work.fetch_all(statement)
    ]
    return Report(totals["entries"], totals["accounts"], totals["total"], faults)


def to_account(row: Row) -> Account:
    return Account(
        id=row["id"],
        company_id=row["company_id"] or "",
        currency=row["currency"],
        balance=row["balance"],
        held=row["held"],
        version=row["version"],
        is_open=row["status"] == "open",
    )


def to_hold(row: Row) -> Hold:
    return Hold(
        id=row["id"],
        account=row["account_id"],
        amount=Money(row["minor_units"], row["currency"]),
        status=HoldStatus(row["status"]),
        expires_at_us=row["expires_at_us"],
    )


def to_entry(row: Row, sides: Sequence[Row]) -> Entry:
    return Entry(
        id=row["id"],
        postings=[
            Posting(side["account_id"], Money(side["minor_units"], side["currency"]))
            for side in sides
        ],
        transfer=row["transfer_id"],
        description=row["description"],
        counterparty=row["counterparty"],
        posted_at_us=row["posted_at_us"],
        reverses=row["reverses"] or "",
    )


def posted(entry: Entry, posting: Posting, balance: int, version: int) -> events.EntryPosted:
    return events.EntryPosted(
        account_id=posting.account,
        entry_id=entry.id,
        transfer_id=entry.transfer,
        amount=wire.to_wire(posting.amount),
        balance_after=wire.to_wire(Money(balance, posting.amount.currency)),
        version=version,
        counterparty=entry.other_side(posting),
        description=entry.description,
        occurred_at=wire.timestamp(entry.posted_at_us),
        reverses_entry_id=entry.reverses,
    )
