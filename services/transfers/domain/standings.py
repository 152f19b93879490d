"""What the books have under the id of a transfer, and what they must. No gRPC, NATS or SQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .transfers import Status, Transfer

# For so long (microseconds) a transfer may be on its way.
LATE_US = 15 * 60 * 1_000_000

MOVED = frozenset({Status.COMPLETED, Status.REVERSED})


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """The sides of a transfer's entry, account and minor units, and what is held for it."""

    moved: Sequence[tuple[str, int]] = ()
    held: int = 0


def difference(
    transfer: Transfer, standing: Standing, clearing: str, fees: str
) -> tuple[str, int] | None:
    """Tells what is wrong with a transfer in the books, in words, and by how much money.

    Of one that is on its way nothing is wrong. `clearing` and `fees` are the bank's own accounts.
    """
    if transfer.status is Status.PENDING:
        return None
    wanted = Counter[str]()
    if transfer.status in MOVED:
        wanted[transfer.payer] -= transfer.cost.minor_units
        wanted[transfer.payee or clearing] += transfer.amount.minor_units
        wanted[fees] += transfer.fee
    found = Counter[str]()
    for account, minor_units in standing.moved:
        found[account] += minor_units
    off = max((abs(wanted[each] - found[each]) for each in {*wanted, *found}), default=0)
    if off:
        amount = transfer.amount.minor_units
        has = "has no entry" if not standing.moved else "has another entry in the ledger"
        return f"is {transfer.status} with {amount}, and {has}", off
    if standing.held:
        return f"is {transfer.status}, and {standing.held} is held for it", standing.held
    return None


def is_late(transfer: Transfer, now_us: int) -> bool:
    """Tells whether a transfer has been on its way for too long."""
    began_us = transfer.counted_at_us or transfer.scheduled_for_us or transfer.created_at_us
    return transfer.status is Status.PENDING and began_us < now_us - LATE_US
