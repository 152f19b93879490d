"""What is always true of statements, and whether it is.

lines   those of each account follow one another: version, balance and seal
ledger  the last line of each account has the seal that it has in the ledger, and so all before it
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from mesh.chassis import Chassis
from mesh.checks import Check, Finding, Part, on_snapshots
from mesh.db import UnitOfWork
from observability.metrics import BANK_DRIFT

from . import store
from .clients import Ledger
from .domain import UNSEALED, Line

PART = 400


async def lines(work: UnitOfWork, after: str) -> Part:
    """Looks at lines in the order of their accounts; `after` names the last one that was seen."""
    account, _, version = after.rpartition("/")
    before = await store.find_line(work, account, int(version)) if after else None
    rows = await store.lines_from(work, account, int(version or 0), PART)
    last = f"{rows[-1].account_id}/{rows[-1].version}" if len(rows) == PART else ""
    return Part(list(chain(before, rows)), len(rows), last)


def chain(before: Line | None, rows: Sequence[Line]) -> Iterator[Finding]:
    """Holds each line against the one before it, as that stands."""
    for line in rows:
        if before is not None and before.account_id != line.account_id:
            before = None
        name = f"Line {line.version} of the statement of account {line.account_id}"
        balance = before.balance_after.minor_units if before else 0
        off = line.balance_after.minor_units - balance - line.amount.minor_units
        subject = f"{line.account_id}/{line.version}"
        if line.version != (before.version if before else 0) + 1:
            yield Finding(subject, f"{name} follows line {before.version if before else 0}.")
        elif off:
            yield Finding(subject, f"{name}, of entry {line.entry_id}, is {off} off.", off)
        elif line.seal and line.sealed(before.seal if before else UNSEALED) != line.seal:
            yield Finding(
                subject, f"{name}, of entry {line.entry_id}, is not what the ledger has sealed."
            )
        before = line


async def compare(chassis: Chassis, ledger: Ledger, after: str) -> Part:
    """Asks the ledger for the seals of last lines."""
    heads = await chassis.read(store.last_lines, after, PART)
    sealed = [line for line in heads if line.seal]
    seals = await ledger.seals([(line.account_id, line.version) for line in sealed])
    found = [
        Finding(
            line.account_id,
            f"The statement of account {line.account_id} differs from the ledger at line"
            f" {line.version}, of entry {line.entry_id}, or before.",
        )
        for line, seal in zip(sealed, seals, strict=True)
        if line.seal != seal
    ]
    return Part(found, len(heads), heads[-1].account_id if len(heads) == PART else "")


def checks(chassis: Chassis, ledger: Ledger) -> list[Check]:
    """Declares what is always true of statements."""
    return [
        Check(name="lines", sweep=on_snapshots(chassis, lines), drift=BANK_DRIFT),
        Check(name="ledger", sweep=partial(compare, chassis, ledger), drift=BANK_DRIFT),
    ]
