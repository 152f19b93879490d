"""What is always true of the ledger's rows, and whether it is.

accounts  the balance of each is that of its last line, within its limits, and holds what is held
entries   the sides of each sum to zero, and it is what was asked for
lines     those of each account follow one another: version, balance, time and seal
total     all the money that there is adds up to nothing
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TypeAlias

from mesh.chassis import Chassis
from mesh.checks import Check, Finding, Part, on_snapshots
from mesh.db import Row, UnitOfWork, sql
from mesh.errors import InvalidArgument
from observability.metrics import BANK_DRIFT
from services.money import Money

from .domain.books import Posting, Recent
from .domain.chart import UNSEALED
from .domain.reading import Report, TrialLine
from .tables import to_entry, to_line

PART = 400

ACCOUNTS_AFTER = sql(
    "SELECT accounts.*, postings.balance_after, postings.entry_id, postings.seal AS line_seal,"
    " (SELECT COUNT(*) FROM postings AS counted WHERE counted.account_id = accounts.id"
    " AND counted.version > accounts.version) AS beyond,"
    " (SELECT CAST(COALESCE(SUM(minor_units), 0) AS BIGINT) FROM holds"
    " WHERE holds.account_id = accounts.id AND holds.status = 'open') AS promised"
    " FROM accounts LEFT JOIN postings ON postings.account_id = accounts.id"
    " AND postings.version = accounts.version WHERE accounts.id > :after"
    " ORDER BY accounts.id LIMIT :size"
)
ENTRIES_AFTER = sql("SELECT * FROM entries WHERE id > :after ORDER BY id LIMIT :size")
SIDES_AFTER = sql(
    "SELECT * FROM postings WHERE entry_id > :after AND (:last = '' OR entry_id <= :last)"
    " ORDER BY entry_id, account_id, version LIMIT :size"
)
JOINED = (
    "SELECT postings.*, posted_at_us, transfer_id, description, reverses, entries.id AS known"
    " FROM postings LEFT JOIN entries ON entries.id = entry_id WHERE"
)
LINES_AFTER = sql(
    f"{JOINED} (account_id, version) > (:account, CAST(:version AS BIGINT))"
    " ORDER BY account_id, version LIMIT :size"
)
LINE = sql(f"{JOINED} account_id = :account AND version = :version")
LINES_OF = sql(
    f"{JOINED} account_id = :account AND version > :version ORDER BY version LIMIT :size"
)
TOTALS = sql(
    "SELECT currency, CAST(SUM(balance) AS BIGINT) AS total, COUNT(*) AS accounts FROM accounts"
    " GROUP BY currency ORDER BY currency"
)
COUNTED = sql(
    "SELECT (SELECT COUNT(*) FROM entries WHERE refused = '') AS entries,"
    " (SELECT COUNT(*) FROM accounts) AS accounts,"
    " (SELECT CAST(COALESCE(SUM(minor_units), 0) AS BIGINT) FROM postings) AS total"
)
TRIAL_BALANCE = sql(
    "SELECT kind, currency, COUNT(*) AS accounts,"
    " CAST(SUM(CASE WHEN balance > 0 THEN balance ELSE 0 END) AS BIGINT) AS positive,"
    " CAST(SUM(CASE WHEN balance < 0 THEN -balance ELSE 0 END) AS BIGINT) AS negative"
    " FROM accounts GROUP BY kind, currency ORDER BY kind, currency"
)

Fault: TypeAlias = Iterator[tuple[str, int]]
"""What is wrong, in a sentence, and by how much."""


async def accounts(work: UnitOfWork, after: str) -> Part:
    rows = await work.fetch_all(ACCOUNTS_AFTER, after=after, size=PART)
    found = [_finding(row["id"], _account(row)) for row in rows]
    return Part(_all(found), len(rows), rows[-1]["id"] if len(rows) == PART else "")


def _account(row: Row) -> Fault:
    account, balance, held = row["id"], row["balance"], row["held"]
    name = f"account {account}"
    if row["version"] and row["entry_id"] is None:
        yield f"The last line of {name}, {row['version']}, is not there.", 0
    elif row["version"] == 0 and balance:
        yield f"The balance of {name} is {balance}, and it has no lines.", balance
    elif row["version"] and row["balance_after"] != balance:
        last = f"its last line, of entry {row['entry_id']}, leaves {row['balance_after']}"
        yield f"The balance of {name} is {balance}, and {last}.", balance - row["balance_after"]
    elif row["version"] and row["seal"] != row["line_seal"]:
        yield f"The seal of {name} is not that of its last line, of entry {row['entry_id']}.", 0
    if row["beyond"]:
        yield f"There are {row['beyond']} lines beyond the last one of {name}.", 0
    if held != row["promised"]:
        promised = row["promised"]
        yield f"The {name} holds {held}, and its open holds are {promised}.", held - promised
    if balance - held < row["floor"] or balance > row["ceiling"]:
        yield f"The {name} is beyond its limits with {balance}.", 0


async def entries(work: UnitOfWork, after: str) -> Part:
    """Looks at entries with their sides, and at sides between them that belong to none."""
    rows = await work.fetch_all(ENTRIES_AFTER, after=after, size=PART)
    last = rows[-1]["id"] if len(rows) == PART else ""
    # An entry has a hundred sides at the most.
    sides = await work.fetch_all(SIDES_AFTER, after=after, last=last, size=100 * PART)
    of = {key: list(group) for key, group in groupby(sides, lambda row: str(row["entry_id"]))}
    found = [_finding(row["id"], _entry(row, of.pop(row["id"], []))) for row in rows]
    found += [_finding(key, _orphan(key, group)) for key, group in of.items()]
    return Part(_all(found), len(rows) + len(sides), last)


def _entry(row: Row, sides: Sequence[Row]) -> Fault:
    name = f"entry {row['id']}"
    on = ", ".join(dict.fromkeys(side["account_id"] for side in sides)) or "no account"
    if row["refused"]:
        if sides:
            yield f"The {name} was refused, and has sides on {on}.", 0
        return
    total = sum(side["minor_units"] for side in sides)
    if total:
        yield f"The sides of {name}, on {on}, sum to {total}.", total
        return
    postings = [
        Posting(side["account_id"], Money(side["minor_units"], side["currency"])) for side in sides
    ]
    try:
        is_kept = to_entry(row, postings).fingerprint() == row["fingerprint"]
    except InvalidArgument as wrong:
        yield f"The {name}, on {on}, is none: {wrong.message}", 0
    else:
        if not is_kept:
            yield f"The {name}, on {on}, is not what was asked for.", 0


def _orphan(entry_id: str, sides: Sequence[Row]) -> Fault:
    total = sum(side["minor_units"] for side in sides)
    on = ", ".join(dict.fromkeys(side["account_id"] for side in sides))
    yield f"The entry {entry_id} is not there, and has sides on {on}.", total


async def lines(work: UnitOfWork, after: str) -> Part:
    """Looks at lines in the order of their accounts; `after` names the last one that was seen."""
    account, _, version = after.rpartition("/")
    before = None
    if after:
        before = await work.fetch_one(LINE, account=account, version=int(version))
    rows = await work.fetch_all(LINES_AFTER, account=account, version=int(version or 0), size=PART)
    last = f"{rows[-1]['account_id']}/{rows[-1]['version']}" if len(rows) == PART else ""
    return Part(_all(_chain(before, rows)), len(rows), last)


async def recent_lines(work: UnitOfWork, touched: Sequence[tuple[str, int]]) -> Part:
    """Looks at the lines of some accounts, each from a version on."""
    found: list[Finding | None] = []
    seen = 0
    for account, version in touched:
        before = await work.fetch_one(LINE, account=account, version=version - 1)
        rows = await work.fetch_all(LINES_OF, account=account, version=version - 1, size=PART)
        found += _chain(before, rows)
        seen += len(rows)
    return Part(_all(found), seen)


def _chain(before: Row | None, rows: Sequence[Row]) -> list[Finding | None]:
    """Holds each line against the one before it, as that stands."""
    found = []
    for row in rows:
        if before is not None and before["account_id"] != row["account_id"]:
            before = None
        subject = f"{row['account_id']}/{row['version']}"
        found.append(_finding(subject, _line(before, row)))
        before = row
    return found


def _line(before: Row | None, row: Row) -> Fault:
    name = f"Line {row['version']} of account {row['account_id']}, of entry {row['entry_id']},"
    version, balance, seal = 0, 0, UNSEALED
    if before is not None:
        version, balance, seal = before["version"], before["balance_after"], before["seal"]
    if row["version"] != version + 1:
        yield f"{name} follows line {version}.", 0
        return
    if row["known"] is None:
        yield f"{name} belongs to no entry.", row["minor_units"]
        return
    if row["balance_after"] != balance + row["minor_units"]:
        off = row["balance_after"] - balance - row["minor_units"]
        yield f"{name} leaves {row['balance_after']}, {off} off what it must.", off
    if to_line(row).sealed(seal) != row["seal"]:
        yield f"{name} is not what was sealed.", 0


async def total(work: UnitOfWork, after: str) -> Part:
    rows = await work.fetch_all(TOTALS)
    found = [_finding(row["currency"], _total(row)) for row in rows]
    return Part(_all(found), sum(row["accounts"] for row in rows))


def _total(row: Row) -> Fault:
    if row["total"]:
        yield f"All that is on accounts in {row['currency']} sums to {row['total']}.", row["total"]


SWEEPS = {"accounts": accounts, "entries": entries, "lines": lines, "total": total}


def checks(chassis: Chassis, recent: Recent) -> list[Check]:
    """Declares what is always true of the ledger. `recent` tells which lines are new."""

    async def new_lines() -> Part:
        return await chassis.read(recent_lines, recent.take(PART))

    return [
        Check(
            name=name,
            sweep=on_snapshots(chassis, look),
            recent=new_lines if look is lines else None,
            drift=BANK_DRIFT,
        )
        for name, look in SWEEPS.items()
    ]


async def verify(work: UnitOfWork) -> Report:
    """Makes every check on one snapshot of all the rows. For an operator: it takes its time."""
    counted = await work.fetch_one(COUNTED)
    assert counted is not None, "counts are always one row"
    faults: list[str] = []
    for look in SWEEPS.values():
        part = await look(work, "")
        faults += [finding.sentence for finding in part.findings]
        while part.after:
            part = await look(work, part.after)
            faults += [finding.sentence for finding in part.findings]
    return Report(counted["entries"], counted["accounts"], counted["total"], faults[:1000])


async def trial_balance(work: UnitOfWork) -> list[TrialLine]:
    """Sums up the accounts of each kind. A positive balance is what we owe: a credit."""
    return [
        TrialLine(
            kind=row["kind"],
            currency=row["currency"],
            accounts=row["accounts"],
            debit=row["negative"],
            credit=row["positive"],
        )
        for row in await work.fetch_all(TRIAL_BALANCE)
    ]


def _finding(subject: str, faults: Fault) -> Finding | None:
    """Makes one finding of all that is wrong with a thing."""
    found = list(faults)
    if not found:
        return None
    sentences, drifts = zip(*found, strict=True)
    return Finding(subject, " ".join(sentences), max(drifts, key=abs))


def _all(found: Sequence[Finding | None]) -> list[Finding]:
    return [finding for finding in found if finding is not None]
