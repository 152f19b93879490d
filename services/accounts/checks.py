"""What is always true of the ledger's rows, and whether it is."""

from __future__ import annotations

from mesh.db import UnitOfWork, sql

from .domain.books import Report, TrialLine

TRIAL_BALANCE = sql(
    "SELECT kind, currency, COUNT(*) AS accounts,"
    " CAST(SUM(CASE WHEN balance > 0 THEN balance ELSE 0 END) AS BIGINT) AS positive,"
    " CAST(SUM(CASE WHEN balance < 0 THEN -balance ELSE 0 END) AS BIGINT) AS negative"
    " FROM accounts GROUP BY kind, currency ORDER BY kind, currency"
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
