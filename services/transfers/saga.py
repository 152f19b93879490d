"""How money moves: in one entry within the bank; held, sent and settled when it leaves it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mesh.errors import Refused
from mesh.saga import Journal

from .domain.batches import Batch
from .domain.recurrence import Occurrence
from .domain.transfers import Begin, Ledger, Rail, Transfer


async def move_money(
    transfer: Transfer, journal: Journal, begin: Begin, ledger: Ledger, rail: Rail
) -> Transfer:
    """Carries a transfer to its end, across restarts: a step in the journal is not taken again."""
    if transfer.scheduled_for_us is not None:
        try:
            await journal.step("begin", begin, transfer)
        except Refused:
            return transfer.cancelled()
    if transfer.pix_key:
        return await pay_out(transfer, journal, ledger, rail)
    return await pay_in_house(transfer, journal, ledger)


async def pay_in_house(transfer: Transfer, journal: Journal, ledger: Ledger) -> Transfer:
    try:
        await journal.step("post", ledger.post, transfer)
    except Refused as refusal:
        return transfer.failed(refusal.reason)
    return transfer.completed()


async def pay_out(transfer: Transfer, journal: Journal, ledger: Ledger, rail: Rail) -> Transfer:
    try:
        await journal.step("hold", ledger.hold, transfer)
        await journal.step("send", rail.send, transfer)
        # What became of it is asked until the rail has said: a hold is not released on doubt.
        await journal.step("confirm", rail.confirm, transfer)
    except Refused as refusal:
        await journal.step("release", ledger.release, transfer)
        return transfer.failed(refusal.reason)
    # The money has left the bank: from here there is no way back, and a refusal is a bug.
    await journal.step("settle", ledger.settle, transfer)
    return transfer.completed()


async def expire(transfer: Transfer, journal: Journal) -> Transfer:
    """Ends the wait for an approver. There is nobody to ask: what is left to do is kept at once."""
    return transfer


async def occur(
    occurrence: Occurrence, journal: Journal, make: Callable[[Occurrence], Awaitable[None]]
) -> Occurrence:
    """Makes the transfer of an occurrence."""
    await journal.step("make", make, occurrence)
    return occurrence


async def work_through(
    batch: Batch, journal: Journal, make: Callable[[Batch], Awaitable[None]]
) -> Batch:
    """Makes the transfers of a batch."""
    await journal.step("make", make, batch)
    return batch
