"""Where the rail's settlement file and the ledger's clearing account are held against what is kept.

The lines of the file, and those of the clearing account, are copied as they come; what differs is
found by what both say of one id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mesh.db import Row, UnitOfWork, sql

from ..domain.rail import Settlement
from ..domain.settlement import Difference, Movement, Posting

# What is kept here and should be in the file, with the sign that the file gives it. What stays in
# the house is no matter of the rail.
KEPT = (
    "(SELECT end_to_end_id, id AS entry_id, -minor_units AS minor_units, created_at_us"
    " FROM payments WHERE status = 'settled' AND account_id = ''"
    " UNION ALL SELECT end_to_end_id, id, minor_units, created_at_us FROM deposits"
    " WHERE status = 'settled' AND NOT EXISTS"
    " (SELECT 1 FROM payments WHERE payments.end_to_end_id = deposits.end_to_end_id)"
    " UNION ALL SELECT return_end_to_end_id, id,"
    " CASE direction WHEN 'out' THEN -minor_units ELSE minor_units END, created_at_us FROM returns"
    " WHERE status = 'settled' AND NOT EXISTS (SELECT 1 FROM payments"
    " WHERE payments.end_to_end_id = returns.end_to_end_id AND account_id <> ''))"
)
ADD_LINE = sql(
    "INSERT INTO settlement_lines (end_to_end_id, minor_units, settled_at_us)"
    " VALUES (:id, :minor_units, :settled_at) ON CONFLICT (end_to_end_id) DO NOTHING"
)
ADD_POSTING = sql(
    "INSERT INTO clearing (entry_id, minor_units, occurred_at_us, version)"
    " VALUES (:entry, :minor_units, :occurred_at, :version) ON CONFLICT (entry_id) DO NOTHING"
)
LAST_VERSION = sql("SELECT COALESCE(MAX(version), 0) AS version FROM clearing")
LINES = sql(
    "SELECT lines.end_to_end_id, lines.minor_units AS rail, clearing.minor_units AS ledger,"
    " COALESCE(-payments.minor_units, deposits.minor_units, CASE direction WHEN 'out'"
    " THEN -returns.minor_units ELSE returns.minor_units END) AS kept"
    " FROM settlement_lines AS lines"
    " LEFT JOIN payments ON payments.end_to_end_id = lines.end_to_end_id"
    " AND payments.status = 'settled'"
    " LEFT JOIN deposits ON deposits.end_to_end_id = lines.end_to_end_id"
    " AND deposits.status = 'settled'"
    " LEFT JOIN returns ON return_end_to_end_id = lines.end_to_end_id"
    " AND returns.status = 'settled'"
    " LEFT JOIN clearing ON entry_id = COALESCE(payments.id, deposits.id, returns.id)"
    " WHERE lines.end_to_end_id > :after AND settled_at_us >= :since AND settled_at_us < :until"
    " ORDER BY lines.end_to_end_id LIMIT :size"
)
UNTOLD = sql(
    "SELECT kept.end_to_end_id, kept.minor_units AS kept,"  # noqa: S608
    f" clearing.minor_units AS ledger FROM {KEPT} AS kept"
    " LEFT JOIN clearing ON clearing.entry_id = kept.entry_id"
    " LEFT JOIN settlement_lines AS lines ON lines.end_to_end_id = kept.end_to_end_id"
    " WHERE lines.end_to_end_id IS NULL AND created_at_us >= :since AND created_at_us < :until"
    " ORDER BY kept.end_to_end_id LIMIT :size"
)
MOST_UNTOLD = 400
# What the clearing account has, and what is kept here of it, with the sign of that account.
MOVED = sql(
    "SELECT entry_id, version, clearing.minor_units AS ledger,"
    " COALESCE(payments.minor_units, -deposits.minor_units, CASE direction WHEN 'out'"
    " THEN returns.minor_units ELSE -returns.minor_units END) AS kept,"
    " COALESCE(payments.status, deposits.status, returns.status) AS status FROM clearing"
    " LEFT JOIN payments ON payments.id = entry_id"
    " LEFT JOIN deposits ON deposits.id = entry_id"
    " LEFT JOIN returns ON returns.id = entry_id"
    " WHERE clearing.version > :after ORDER BY clearing.version LIMIT :size"
)


async def add_lines(work: UnitOfWork, lines: Iterable[Settlement]) -> None:
    await work.execute_many(
        ADD_LINE,
        [
            {
                "id": line.end_to_end_id,
                "minor_units": line.minor_units,
                "settled_at": line.settled_at_us,
            }
            for line in lines
        ],
    )


async def add_postings(work: UnitOfWork, postings: Sequence[Posting]) -> None:
    await work.execute_many(
        ADD_POSTING,
        [
            {
                "entry": posting.entry_id,
                "minor_units": posting.minor_units,
                "occurred_at": posting.occurred_at_us,
                "version": posting.version,
            }
            for posting in postings
        ],
    )


async def last_version(work: UnitOfWork) -> int:
    row = await work.fetch_one(LAST_VERSION)
    return int(row["version"]) if row else 0


async def compare(
    work: UnitOfWork, since: int, until: int, after: str, size: int
) -> tuple[list[Difference], list[str]]:
    """Compares a part of the file's lines; tells what differs, and the ids that were looked at."""
    rows = await work.fetch_all(LINES, since=since, until=until, after=after, size=size)
    return [each for each in map(difference, rows) if each], [row["end_to_end_id"] for row in rows]


async def untold(work: UnitOfWork, since: int, until: int) -> list[Difference]:
    """Finds what is settled here, and is not in the file."""
    rows = await work.fetch_all(UNTOLD, since=since, until=until, size=MOST_UNTOLD)
    return [
        Difference(
            end_to_end_id=row["end_to_end_id"],
            kind="MISSING_AT_RAIL",
            rail=None,
            kept=row["kept"],
            ledger=row["ledger"],
        )
        for row in rows
    ]


async def moved(work: UnitOfWork, after: int, size: int) -> list[Movement]:
    """Reads movements of the clearing account, with what is kept of each."""
    rows = await work.fetch_all(MOVED, after=after, size=size)
    return [
        Movement(
            version=row["version"],
            entry_id=row["entry_id"],
            ledger=row["ledger"],
            kept=row["kept"],
            status=row["status"] or "",
        )
        for row in rows
    ]


def difference(row: Row) -> Difference | None:
    rail, kept, ledger = row["rail"], row["kept"], row["ledger"]
    if kept is None:
        kind = "MISSING_HERE"
    elif ledger is None:
        kind = "MISSING_IN_LEDGER"
    elif not rail == kept == -ledger:
        kind = "AMOUNT"
    else:
        return None
    return Difference(
        end_to_end_id=row["end_to_end_id"], kind=kind, rail=rail, kept=kept, ledger=ledger
    )
