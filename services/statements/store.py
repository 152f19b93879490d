"""Where lines are kept, and the copies of what tells who may read them."""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import BigInteger, Boolean, Integer, LargeBinary, MetaData, Text, text
from sqlmodel import Field, SQLModel

from mesh.db import Row, UnitOfWork, sql
from services.money import Money

from .domain import Line, Month, Page, Period, Query, months_of
from .projection import Account, Reader


class Table(SQLModel):
    """The base of this service's tables."""

    metadata: ClassVar[MetaData] = MetaData()


class LineRow(Table, table=True):
    __tablename__ = "lines"

    account_id: str = Field(primary_key=True, sa_type=Text)
    version: int = Field(primary_key=True, sa_type=BigInteger)
    entry_id: str = Field(sa_type=Text)
    transfer_id: str = Field(sa_type=Text)
    minor_units: int = Field(sa_type=BigInteger)
    balance_after: int = Field(sa_type=BigInteger)
    currency: str = Field(sa_type=Text)
    counterparty: str = Field(sa_type=Text)
    description: str = Field(sa_type=Text)
    occurred_at_us: int = Field(sa_type=BigInteger)
    seal: bytes = Field(sa_type=LargeBinary, sa_column_kwargs={"server_default": text("''")})


class AccountRow(Table, table=True):
    __tablename__ = "accounts"

    account_id: str = Field(primary_key=True, sa_type=Text)
    company_id: str = Field(sa_type=Text)


class ReaderRow(Table, table=True):
    __tablename__ = "readers"

    company_id: str = Field(primary_key=True, sa_type=Text)
    user_id: str = Field(primary_key=True, sa_type=Text)
    may_read: bool = Field(sa_type=Boolean)


class PageSecretRow(Table, table=True):
    """What page tokens are sealed with: one row, made with the table."""

    __tablename__ = "page_secrets"

    number: int = Field(
        primary_key=True, sa_type=Integer, sa_column_kwargs={"autoincrement": False}
    )
    secret: str = Field(sa_type=Text)


ADD_LINE = sql(
    "INSERT INTO lines (account_id, version, entry_id, transfer_id, minor_units, balance_after,"
    " currency, counterparty, description, occurred_at_us, seal) VALUES (:account, :version,"
    " :entry, :transfer, :amount, :balance, :currency, :counterparty, :description, :occurred_at,"
    " :seal)"
    " ON CONFLICT (account_id, version) DO NOTHING"
)
ADD_ACCOUNT = sql(
    "INSERT INTO accounts (account_id, company_id) VALUES (:account, :company)"
    " ON CONFLICT (account_id) DO NOTHING"
)
ADD_READER = sql(
    "INSERT INTO readers (company_id, user_id, may_read) VALUES (:company, :user, :may_read)"
    " ON CONFLICT (company_id, user_id) DO NOTHING"
)
SET_READER = sql(
    "INSERT INTO readers (company_id, user_id, may_read) VALUES (:company, :user, :may_read)"
    " ON CONFLICT (company_id, user_id) DO UPDATE SET may_read = excluded.may_read"
)
REACHED = sql(
    "SELECT (SELECT MAX(version) FROM lines WHERE lines.account_id = accounts.account_id)"
    " AS version FROM accounts JOIN readers ON readers.company_id = accounts.company_id"
    " WHERE accounts.account_id = :account AND readers.user_id = :user AND readers.may_read"
)
LINES = sql(
    "SELECT * FROM lines WHERE account_id = :account AND version < :before"
    " AND occurred_at_us >= :from_us AND occurred_at_us < :to_us"
    " AND (:direction = 0 OR minor_units * :direction > 0)"
    " AND (:search = '' OR LOWER(counterparty || ' ' || description) LIKE :search ESCAPE '!')"
    " ORDER BY version DESC LIMIT :size"
)
PERIOD = sql(
    "SELECT accounts.company_id, MAX(lines.version) AS version, MAX(lines.currency) AS currency,"
    " MAX(CASE WHEN lines.occurred_at_us < :from_us THEN lines.version END) AS before"
    " FROM accounts JOIN readers ON readers.company_id = accounts.company_id"
    " LEFT JOIN lines ON lines.account_id = accounts.account_id"
    " AND lines.occurred_at_us < :to_us"
    " WHERE accounts.account_id = :account AND readers.user_id = :user AND readers.may_read"
    " GROUP BY accounts.company_id"
)
COUNT = sql(
    "SELECT COUNT(*) AS number FROM lines WHERE account_id = :account"
    " AND occurred_at_us >= :from_us AND occurred_at_us < :to_us AND version <= :until"
)
LINES_OF_PERIOD = sql(
    "SELECT * FROM lines WHERE account_id = :account AND version > :after AND version <= :until"
    " AND occurred_at_us >= :from_us AND occurred_at_us < :to_us ORDER BY version LIMIT :size"
)
SUMS = sql(
    "SELECT COUNT(*) AS entries,"
    " CAST(COALESCE(SUM(CASE WHEN minor_units > 0 THEN minor_units ELSE 0 END), 0) AS BIGINT)"
    " AS received,"
    " CAST(COALESCE(SUM(CASE WHEN minor_units < 0 THEN -minor_units ELSE 0 END), 0) AS BIGINT)"
    " AS spent FROM lines WHERE account_id = :account"
    " AND occurred_at_us >= :from_us AND occurred_at_us < :to_us"
)
HEARD = sql(
    "SELECT accounts.account_id, MAX(lines.version) AS version"
    " FROM readers JOIN accounts ON accounts.company_id = readers.company_id"
    " LEFT JOIN lines ON lines.account_id = accounts.account_id"
    " WHERE readers.user_id = :user AND readers.may_read GROUP BY accounts.account_id"
)
LINE = sql("SELECT * FROM lines WHERE account_id = :account AND version = :version")
LINES_FROM = sql(
    "SELECT * FROM lines WHERE (account_id, version) > (:account, CAST(:version AS BIGINT))"
    " ORDER BY account_id, version LIMIT :size"
)
LAST_LINES = sql(
    "SELECT lines.* FROM (SELECT account_id, MAX(version) AS version FROM lines"
    " WHERE account_id > :after GROUP BY account_id ORDER BY account_id LIMIT :size) AS last"
    " JOIN lines USING (account_id, version) ORDER BY account_id"
)
LINES_AFTER = sql(
    "SELECT * FROM lines WHERE account_id = :account AND version > :after"
    " ORDER BY version LIMIT :size"
)
PAGE_SECRET = sql("SELECT secret FROM page_secrets WHERE number = 1")


async def add_line(work: UnitOfWork, line: Line) -> None:
    await work.execute(
        ADD_LINE,
        account=line.account_id,
        version=line.version,
        entry=line.entry_id,
        transfer=line.transfer_id,
        amount=line.amount.minor_units,
        balance=line.balance_after.minor_units,
        currency=line.amount.currency,
        counterparty=line.counterparty,
        description=line.description,
        occurred_at=line.occurred_at_us,
        seal=line.seal,
    )


async def add_account(work: UnitOfWork, account: Account) -> None:
    """Keeps an account, and its first reader unless the users have told of them already."""
    owner = account.first_reader()
    await work.execute(ADD_ACCOUNT, account=account.account_id, company=account.company_id)
    await work.execute(
        ADD_READER, company=owner.company_id, user=owner.user_id, may_read=owner.may_read
    )


async def set_reader(work: UnitOfWork, reader: Reader) -> None:
    await work.execute(
        SET_READER, company=reader.company_id, user=reader.user_id, may_read=reader.may_read
    )


async def find_page(work: UnitOfWork, query: Query) -> Page | None:
    """Reads a page. None if there is no such account, or the user may not read it."""
    reached = await work.fetch_one(REACHED, account=query.account_id, user=query.user_id)
    if reached is None:
        return None
    rows = await work.fetch_all(
        LINES,
        account=query.account_id,
        before=query.before,
        from_us=query.from_us,
        to_us=query.to_us,
        direction=query.direction,
        search=_pattern(query.search),
        size=query.size + 1,
    )
    lines = [to_line(row) for row in rows[: query.size]]
    return Page(lines, has_more=len(rows) > query.size, as_of_version=reached["version"] or 0)


def _pattern(words: str) -> str:
    """Writes what SQL's LIKE finds words by; "" finds everything."""
    escaped = words.lower().replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return f"%{escaped}%" if words else ""


async def find_period(
    work: UnitOfWork, user_id: str, account_id: str, from_us: int, to_us: int
) -> Period | None:
    """Reads what a statement for a time begins with. None if the user may not read the account."""
    found = await work.fetch_one(
        PERIOD, user=user_id, account=account_id, from_us=from_us, to_us=to_us
    )
    if found is None:
        return None
    before = await find_line(work, account_id, found["before"]) if found["before"] else None
    opening = before.balance_after if before else Money(0, found["currency"] or "BRL")
    return Period(
        account_id=account_id,
        company_id=found["company_id"],
        from_us=from_us,
        to_us=to_us,
        opening=opening,
        until_version=found["version"] or 0,
    )


async def count_lines(work: UnitOfWork, period: Period) -> int:
    row = await work.fetch_one(
        COUNT,
        account=period.account_id,
        from_us=period.from_us,
        to_us=period.to_us,
        until=period.until_version,
    )
    return int(row["number"]) if row else 0


async def lines_of(work: UnitOfWork, period: Period, after: int, size: int) -> list[Line]:
    """Reads lines of a time, the oldest first, after a version."""
    rows = await work.fetch_all(
        LINES_OF_PERIOD,
        account=period.account_id,
        after=after,
        until=period.until_version,
        from_us=period.from_us,
        to_us=period.to_us,
        size=size,
    )
    return [to_line(row) for row in rows]


async def find_months(
    work: UnitOfWork, user_id: str, account_id: str, year: int, now_us: int
) -> list[Month] | None:
    """Sums up the months of a year that have begun, the newest first, from the first entry on."""
    months: list[Month] = []
    for name, from_us, to_us in months_of(year, now_us):
        period = await find_period(work, user_id, account_id, from_us, to_us)
        if period is None:
            return None
        sums = await work.fetch_one(SUMS, account=account_id, from_us=from_us, to_us=to_us)
        assert sums is not None, "a sum has a row"
        if not period.until_version:
            continue
        currency = period.opening.currency
        months.append(
            Month(
                month=name,
                opening=period.opening,
                received=Money(sums["received"], currency),
                spent=Money(sums["spent"], currency),
                entries=sums["entries"],
                closed=to_us <= now_us,
            )
        )
    return months[::-1]


async def reached_by(work: UnitOfWork, user_id: str) -> dict[str, int]:
    """Tells the last version of each account that a user may read."""
    rows = await work.fetch_all(HEARD, user=user_id)
    return {row["account_id"]: row["version"] or 0 for row in rows}


async def find_line(work: UnitOfWork, account_id: str, version: int) -> Line | None:
    row = await work.fetch_one(LINE, account=account_id, version=version)
    return to_line(row) if row else None


async def lines_after(work: UnitOfWork, account_id: str, after: int, size: int) -> list[Line]:
    """Reads lines of an account, the oldest first, after a version."""
    rows = await work.fetch_all(LINES_AFTER, account=account_id, after=after, size=size)
    return [to_line(row) for row in rows]


async def lines_from(work: UnitOfWork, account_id: str, version: int, size: int) -> list[Line]:
    """Reads lines of all accounts, in their order, after one of them."""
    rows = await work.fetch_all(LINES_FROM, account=account_id, version=version, size=size)
    return [to_line(row) for row in rows]


async def last_lines(work: UnitOfWork, after: str, size: int) -> list[Line]:
    """Reads the last line of each account, for accounts after one of them."""
    return [to_line(row) for row in await work.fetch_all(LAST_LINES, after=after, size=size)]


async def page_secret(work: UnitOfWork) -> bytes:
    row = await work.fetch_one(PAGE_SECRET)
    assert row is not None, "the secret is made with its table"
    return bytes.fromhex(row["secret"])


def to_line(row: Row) -> Line:
    return Line(
        account_id=row["account_id"],
        version=row["version"],
        entry_id=row["entry_id"],
        transfer_id=row["transfer_id"],
        amount=Money(row["minor_units"], row["currency"]),
        balance_after=Money(row["balance_after"], row["currency"]),
        counterparty=row["counterparty"],
        description=row["description"],
        occurred_at_us=row["occurred_at_us"],
        seal=bytes(row["seal"] or b""),
    )
