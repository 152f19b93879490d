"""What is always true of transfers, and whether it is.

ledger  what has ended is in the ledger if it is completed, with its amount and fee, once, and not
        if it is not; nothing is held for it any more
late    nothing is on its way for more than a quarter of an hour
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from mesh.chassis import Chassis
from mesh.checks import Check, Finding, Part, on_snapshots
from mesh.clock import now_us
from mesh.db import UnitOfWork
from observability.metrics import BANK_DRIFT

from .clients import CLEARING, FEES, Books
from .domain.standings import Standing, difference, is_late
from .domain.transfers import Transfer
from .store import pages

PART = 300


async def compare(chassis: Chassis, books: Books, after: str) -> Part:
    """Asks the books for what they have of transfers.

    The rows are read first: what has ended by then has been in the books before.
    """
    transfers = await chassis.read(pages.after, after, PART)
    standings = await books.standings([transfer.id for transfer in transfers])
    return part(transfers, list(map(differing, transfers, standings)))


async def late(work: UnitOfWork, after: str) -> Part:
    transfers = await pages.after(work, after, PART)
    now = now_us()
    return part(transfers, [waiting(transfer, now) for transfer in transfers])


def differing(transfer: Transfer, standing: Standing) -> Finding | None:
    found = difference(transfer, standing, CLEARING, FEES)
    if found is None:
        return None
    what, off = found
    return Finding(transfer.id, f"The transfer {transfer.id} {what}.", off)


def waiting(transfer: Transfer, now: int) -> Finding | None:
    if not is_late(transfer, now):
        return None
    return Finding(transfer.id, f"The transfer {transfer.id} has been on its way for too long.")


def part(transfers: Sequence[Transfer], found: Sequence[Finding | None]) -> Part:
    last = transfers[-1].id if len(transfers) == PART else ""
    return Part([finding for finding in found if finding], len(transfers), last)


def checks(chassis: Chassis, books: Books) -> list[Check]:
    """Declares what is always true of transfers."""
    return [
        Check(name="ledger", sweep=partial(compare, chassis, books), drift=BANK_DRIFT),
        Check(name="late", sweep=on_snapshots(chassis, late)),
    ]
