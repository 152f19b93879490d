"""What is always true of what went over the rail, and whether it is.

settlement  every line of the rail's settlement file is kept here and stands on the ledger's
            clearing account, with the same amount; and what is kept here is in the file
clearing    whatever has moved the clearing account is a payment, a receipt or a return that is
            kept here, with the same amount, and was not refused
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from mesh.chassis import Chassis
from mesh.checks import Check, Finding, Part
from mesh.clock import from_us, now_us, to_us
from observability.metrics import BANK_DRIFT

from .clients import Clearing
from .domain.rail import Rail
from .domain.settlement import Difference
from .store import settlement

PART = 300
# What has just settled may still be on its way to the ledger.
GRACE_US = timedelta(minutes=1) // timedelta(microseconds=1)

SENTENCES = {
    "MISSING_HERE": "is in the rail's file, and is not kept as settled",
    "MISSING_AT_RAIL": "is kept as settled, and is not in the rail's file",
    "MISSING_IN_LEDGER": "is settled, and is not on the clearing account",
    "AMOUNT": "has not the same amount in the rail's file, here and on the clearing account",
}


class Settlements:
    """Holds the rail's word against ours and the ledger's, a day at a time."""

    def __init__(self, chassis: Chassis, rail: Rail, clearing: Clearing) -> None:
        self.chassis = chassis
        self.rail = rail
        self.clearing = clearing

    async def sweep(self, after: str) -> Part:
        """Looks at yesterday and today, part by part; `after` is `day/id`."""
        today = from_us(now_us()).date()
        day_text, _, seen = after.partition("/")
        day = date.fromisoformat(day_text) if day_text else today - timedelta(days=1)
        if not seen:
            await self.fetch(day)
        found, ids = await self.compare(day, seen)
        if len(ids) == PART:
            return Part(list(map(finding, found)), len(ids), f"{day}/{ids[-1]}")
        found += await self.untold(day)
        more = f"{day + timedelta(days=1)}/" if day < today else ""
        return Part(list(map(finding, found)), len(ids), more)

    async def reconcile(self, day: date) -> tuple[int, list[Difference]]:
        """Compares a whole day; tells how many lines agree everywhere, and what differs."""
        await self.fetch(day)
        seen, looked_at, differences = "", 0, list[Difference]()
        while True:
            found, ids = await self.compare(day, seen)
            differences += found
            looked_at += len(ids)
            if len(ids) < PART:
                break
            seen = ids[-1]
        return looked_at - len(differences), differences + await self.untold(day)

    async def fetch(self, day: date) -> None:
        """Copies the file of a day, and the clearing account as far as it has come."""
        await self.chassis.transact(settlement.add_lines, await self.rail.settled_on(day))
        await self.follow()

    async def movements(self, after: str) -> Part:
        """Looks at what has moved the clearing account; `after` is a version of it."""
        if not after:
            await self.follow()
        moved = await self.chassis.read(settlement.moved, int(after or 0), PART)
        found = [(each.entry_id, each.fault()) for each in moved]
        findings = [
            Finding(id, f"The entry {id} {fault[0]}.", fault[1]) for id, fault in found if fault
        ]
        return Part(findings, len(moved), str(moved[-1].version) if len(moved) == PART else "")

    async def follow(self) -> None:
        """Copies what has come onto the clearing account since."""
        last = await self.chassis.read(settlement.last_version)
        while postings := await self.clearing.after(last):
            await self.chassis.transact(settlement.add_postings, postings)
            last = postings[-1].version

    async def compare(self, day: date, seen: str) -> tuple[list[Difference], list[str]]:
        since, until = bounds(day)
        return await self.chassis.read(settlement.compare, since, until, seen, PART)

    async def untold(self, day: date) -> list[Difference]:
        since, until = bounds(day)
        return await self.chassis.read(settlement.untold, since, until)


def bounds(day: date) -> tuple[int, int]:
    since = to_us(datetime(day.year, day.month, day.day, tzinfo=UTC))
    until = since + timedelta(days=1) // timedelta(microseconds=1)
    return since, min(until, now_us() - GRACE_US)


def finding(different: Difference) -> Finding:
    subject = different.end_to_end_id
    return Finding(subject, f"{subject} {SENTENCES[different.kind]}.", different.drift)


def checks(settlements: Settlements) -> list[Check]:
    """Declares what is always true of what went over the rail."""
    return [
        Check(name="settlement", sweep=settlements.sweep, drift=BANK_DRIFT),
        Check(name="clearing", sweep=settlements.movements, drift=BANK_DRIFT),
    ]
