"""Where the ledger is kept: orders are carried out in memory, and what changed is kept in bulk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

from google.protobuf.message import Message

from bank.accounts.v1 import events_pb2 as events
from mesh.clock import now_us
from mesh.db import Asked, Row, Together, UnitOfWork, sql
from mesh.errors import InvalidArgument, Refused
from services import wire
from services.money import Money

from .domain.books import (
    Answer,
    Blocked,
    Books,
    Closed,
    Fact,
    GivenBack,
    Line,
    Posting,
    Recent,
    SetAside,
)
from .domain.chart import Account, refusal
from .domain.orders import Order
from .domain.reading import PAYING_ROLES, BalanceThen, Standing
from .tables import (
    account_row,
    entry_row,
    hold_row,
    line_row,
    to_account,
    to_entry,
    to_hold,
    to_line,
)

A = TypeVar("A")


class Many:
    """A query about some ids, compiled for some sizes: `{ids}` stands for their list."""

    SIZES = (1, 2, 4, 16, 64)

    def __init__(self, text: str) -> None:
        self.names = [f"id{number}" for number in range(self.SIZES[-1])]
        self.sized = {
            size: sql(text.format(ids=", ".join(f":{name}" for name in self.names[:size])))
            for size in self.SIZES
        }

    async def fetch(self, work: UnitOfWork, ids: Iterable[str]) -> list[Row]:
        """Fetches what there is of the ids, each part of them in their order."""
        wanted = sorted({each for each in ids if each})
        found: list[Row] = []
        for start in range(0, len(wanted), self.SIZES[-1]):
            part = wanted[start : start + self.SIZES[-1]]
            size = next(size for size in self.SIZES if size >= len(part))
            part += part[-1:] * (size - len(part))
            found += await work.fetch_all(
                self.sized[size], **dict(zip(self.names, part, strict=False))
            )
        return found


# Locked in the order of their ids, so that no two groups of orders wait for each other.
HOLDS = Many("SELECT * FROM holds WHERE id IN ({ids}) ORDER BY id FOR UPDATE")
ACCOUNTS = Many("SELECT * FROM accounts WHERE id IN ({ids}) ORDER BY id FOR UPDATE")
ANSWERS = Many("SELECT id, fingerprint, refused, posted_at_us FROM entries WHERE id IN ({ids})")
ENTRIES = Many("SELECT * FROM entries WHERE id IN ({ids}) AND refused = ''")
SIDES = Many("SELECT * FROM postings WHERE entry_id IN ({ids}) ORDER BY account_id, version")
REVERSED = Many("SELECT reverses FROM entries WHERE reverses IN ({ids}) AND refused = ''")
ENTER = sql(
    "INSERT INTO entries (id, transfer_id, description, counterparty, fingerprint, refused,"
    " posted_at_us, reverses) VALUES (:id, :transfer, :description, :counterparty, :fingerprint,"
    " :refused, :at_us, :reverses)"
)
WRITE = sql(
    "INSERT INTO postings (account_id, version, entry_id, minor_units, currency, balance_after,"
    " counterparty, seal) VALUES (:account, :version, :entry, :amount, :currency, :balance,"
    " :counterparty, :seal)"
)
CHANGE = sql(
    "UPDATE accounts SET balance = :balance, held = :held, floor = :floor, ceiling = :ceiling,"
    " version = :version, status = :status, blocked = :blocked, block_reason = :reason,"
    " posted_at_us = :at_us, seal = :seal WHERE id = :id"
)
KEEP_HOLD = sql(
    "INSERT INTO holds (id, account_id, minor_units, currency, status, expires_at_us)"
    " VALUES (:id, :account, :amount, :currency, :status, :expires_at)"
)
END_HOLD = sql("UPDATE holds SET status = :status WHERE id = :id")
OVERDUE = sql(
    "SELECT id FROM holds WHERE status = 'open' AND expires_at_us > 0 AND expires_at_us <= :at_us"
    " ORDER BY expires_at_us LIMIT :limit"
)

OPEN = sql(
    "INSERT INTO accounts (id, company_id, currency, balance, held, floor, version, status,"
    " opened_at_us, kind, ceiling, blocked, block_reason, posted_at_us, seal) VALUES (:id,"
    " :company, :currency, 0, 0, :floor, 0, 'open', :at_us, :kind, :ceiling, '', '', 0, :seal)"
    " ON CONFLICT (company_id) DO NOTHING"
)
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
ACCOUNT = sql("SELECT * FROM accounts WHERE id = :id")
LOCKED = sql("SELECT * FROM accounts WHERE id = :id FOR UPDATE")
SIDES = Many(
    "SELECT entry_id, account_id, minor_units, currency FROM postings WHERE entry_id IN ({ids})"
    " ORDER BY entry_id, account_id, version"
)
HELD = Many("SELECT id, minor_units FROM holds WHERE id IN ({ids}) AND status = 'open' ORDER BY id")
LINE = sql(
    "SELECT postings.*, posted_at_us, transfer_id, description, reverses FROM postings"
    " JOIN entries ON entries.id = entry_id WHERE account_id = :account AND version = :version"
)
LINES = sql(
    "SELECT postings.*, posted_at_us, transfer_id, description, reverses FROM postings"
    " JOIN entries ON entries.id = entry_id WHERE account_id = :account AND version > :after"
    " ORDER BY version LIMIT :size"
)


class Counter:
    """Where orders are taken. Those that come at once are carried out together, so that accounts
    that many pay from or to at once are locked once for all of them.
    """

    def __init__(self, settle: Together[Order[Any], Any]) -> None:
        self._settle = settle

    async def take(self, order: Order[A]) -> A:
        """Carries out an order. Raises what it was refused for."""
        answer: A = await self._settle(order)
        return answer


async def settle(
    work: UnitOfWork,
    asked: Sequence[Asked[Order[Any]]],
    *,
    recent: Recent | None = None,
    clock: Callable[[], int] = now_us,
) -> list[Any]:
    """Carries out orders on the books, all in one unit of work, and answers each of them."""
    books = await load(work, [each.order for each in asked], clock)
    answers = [each.run(carry_out, work, books, each.order) for each in asked]
    lines = await keep(work, books)
    if lines and recent:
        work.on_commit(partial(recent.note, lines))
    return answers


def carry_out(work: UnitOfWork, books: Books, order: Order[Any]) -> Any:
    """Carries out one order, and publishes what became of it; a refusal is its answer."""
    told = len(books.facts)
    try:
        answer = order.carry_out(books)
    except Refused as refused:
        answer = refused
    for fact in books.facts[told:]:
        version = fact.version if isinstance(fact, Line) else 0
        work.publish(to_event(fact), version=version)
    return answer


async def load(
    work: UnitOfWork, orders: Sequence[Order[Any]], clock: Callable[[], int] = now_us
) -> Books:
    """Reads what orders need, and locks it. What is answered already is read once it is locked."""
    books = Books(now_us=0)
    needs = [order.needs() for order in orders]
    for row in await HOLDS.fetch(work, (each.hold for each in needs)):
        books.holds[row["id"]] = to_hold(row)
    if originals := [each.original for each in needs if each.original]:
        await load_originals(work, books, originals)
    named = {account for order in orders for account in order.accounts(books)}
    for row in await ACCOUNTS.fetch(work, named):
        books.accounts[row["id"]] = to_account(row)
    for row in await ANSWERS.fetch(work, (each.entry for each in needs)):
        books.answers[row["id"]] = Answer(row["fingerprint"], row["refused"], row["posted_at_us"])
    books.reversed.update(
        [row["reverses"] for row in await REVERSED.fetch(work, (each.original for each in needs))]
    )
    books.now_us = clock()
    return books


async def load_originals(work: UnitOfWork, books: Books, ids: Sequence[str]) -> None:
    sides: dict[str, list[Posting]] = {}
    for row in await SIDES.fetch(work, ids):
        amount = Money(row["minor_units"], row["currency"])
        sides.setdefault(row["entry_id"], []).append(Posting(row["account_id"], amount))
    for row in await ENTRIES.fetch(work, ids):
        books.originals[row["id"]] = to_entry(row, sides[row["id"]])


async def keep(work: UnitOfWork, books: Books) -> Sequence[Line]:
    """Keeps what became of the books, and gives the new lines."""
    if books.entries:
        rows = [entry_row(entry, answer) for entry, answer in books.entries]
        await work.execute_many(ENTER, sorted(rows, key=lambda row: str(row["id"])))
    if lines := [fact for fact in books.facts if isinstance(fact, Line)]:
        await work.execute_many(WRITE, [line_row(line) for line in lines])
    if books.changed:
        await work.execute_many(CHANGE, [account_row(each) for each in books.changed.values()])
    if books.new_holds:
        await work.execute_many(KEEP_HOLD, [hold_row(each) for each in books.new_holds.values()])
    if books.ended:
        ended = [{"id": each.id, "status": each.status} for each in books.ended.values()]
        await work.execute_many(END_HOLD, ended)
    return lines


async def find_overdue(work: UnitOfWork, at_us: int, limit: int) -> list[str]:
    """Finds holds that have expired."""
    return [row["id"] for row in await work.fetch_all(OVERDUE, at_us=at_us, limit=limit)]


async def open_account(work: UnitOfWork, account: Account, owner_id: str, at_us: int) -> None:
    """Opens a company's account, unless it has one."""
    if await work.execute(
        OPEN,
        id=account.id,
        company=account.company_id,
        currency=account.currency,
        floor=account.floor,
        at_us=at_us,
        kind=account.kind,
        ceiling=account.ceiling,
        seal=account.seal,
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


async def balance_at(work: UnitOfWork, account_id: str, at_us: int) -> BalanceThen:
    """Reads a balance at an instant: that of the last line until then.

    The times of an account's lines never go back, so that it is found by halving. In a unit that
    writes, the account is locked: no line that is to come can be older than this answer.
    """
    row = await work.fetch_one(LOCKED if work.writes else ACCOUNT, id=account_id)
    if row is None:
        raise refusal("ACCOUNT_NOT_FOUND")
    account = to_account(row)
    low, high, balance = 0, account.version, 0
    if account.posted_at_us <= at_us:
        low, balance = high, account.balance
    while low < high:
        middle = (low + high + 1) // 2
        line = await work.fetch_one(LINE, account=account_id, version=middle)
        if line is None:
            raise InvalidArgument("BALANCE_UNKNOWN", "The account has a gap there.")
        if line["posted_at_us"] <= at_us:
            low, balance = middle, line["balance_after"]
        else:
            high = middle - 1
    return BalanceThen(account_id, Money(balance, account.currency), low, at_us)


async def lines_after(work: UnitOfWork, account_id: str, after: int, size: int) -> list[Line]:
    """Reads lines of an account, in their order. Raises `NotFound`."""
    await describe(work, account_id, "")
    rows = await work.fetch_all(LINES, account=account_id, after=after, size=size)
    return [to_line(row) for row in rows]


async def seals_of(work: UnitOfWork, keys: Sequence[tuple[str, int]]) -> list[bytes]:
    """Reads the seals of lines; empty where there is none."""
    found = [await work.fetch_one(LINE, account=key[0], version=key[1]) for key in keys]
    return [row["seal"] if row else b"" for row in found]


async def standings_of(work: UnitOfWork, ids: Sequence[str]) -> list[Standing]:
    """Reads the sides of entries, and what is held under their ids."""
    found = {entry_id: Standing(entry_id) for entry_id in ids}
    for row in await SIDES.fetch(work, ids):
        amount = Money(row["minor_units"], row["currency"])
        found[row["entry_id"]].postings.append(Posting(row["account_id"], amount))
    for row in await HELD.fetch(work, ids):
        found[row["id"]].held = row["minor_units"]
    return [found[entry_id] for entry_id in ids]


def to_event(fact: Fact) -> Message:
    """Puts what became of the books as others are told it."""
    match fact:
        case Line():
            return posted(fact)
        case SetAside(hold):
            placed = events.HoldPlaced(
                account_id=hold.account, hold_id=hold.id, amount=wire.to_wire(hold.amount)
            )
            if hold.expires_at_us:
                placed.expires_at.CopyFrom(wire.timestamp(hold.expires_at_us))
            return placed
        case GivenBack(hold, amount, why):
            return events.HoldReleased(
                account_id=hold.account,
                hold_id=hold.id,
                amount=wire.to_wire(amount),
                reason=events.HoldReleaseReason.Value(f"HOLD_RELEASE_REASON_{why.name}"),
            )
        case Closed(account):
            return events.AccountClosed(account_id=account)
        case Blocked(account, debits, credits, reason) if debits or credits:
            return events.AccountBlocked(
                account_id=account, debits=debits, credits=credits, reason=reason
            )
        case Blocked(account, _, _, reason):
            return events.AccountUnblocked(account_id=account, reason=reason)


def posted(line: Line) -> events.EntryPosted:
    return events.EntryPosted(
        account_id=line.account,
        entry_id=line.entry_id,
        transfer_id=line.transfer,
        amount=wire.to_wire(line.amount),
        balance_after=wire.to_wire(Money(line.balance, line.amount.currency)),
        version=line.version,
        counterparty=line.counterparty,
        description=line.description,
        occurred_at=wire.timestamp(line.posted_at_us),
        reverses_entry_id=line.reverses,
        seal=line.seal,
    )
