"""Keeps what accounts and users tell; the cursor has already dropped repeats."""

from __future__ import annotations

from functools import partial

from bank.accounts.v1 import events_pb2 as ledger
from bank.users.v1 import events_pb2 as users
from bank.users.v1.users_pb2 import ROLE_UNSPECIFIED
from mesh.db import UnitOfWork
from mesh.events import Event, Projection
from services import wire

from . import store
from .domain import Arrivals, Line
from .projection import Account, Reader


def lines(arrivals: Arrivals) -> Projection:
    """The projection; it wakes those who wait. The name is stored."""
    return Projection(
        name="lines",
        on={
            ledger.AccountOpened: partial(on_account_opened, arrivals=arrivals),
            ledger.EntryPosted: partial(on_entry_posted, arrivals=arrivals),
            users.MembershipChanged: on_membership_changed,
        },
        tables=("lines", "accounts", "readers"),
    )


async def on_account_opened(
    work: UnitOfWork, event: Event[ledger.AccountOpened], arrivals: Arrivals
) -> None:
    opened = event.data
    account = Account(
        account_id=opened.account_id, company_id=opened.company_id, owner_id=opened.owner_id
    )
    await store.add_account(work, account)
    work.on_commit(partial(arrivals.tell, opened.account_id))


async def on_entry_posted(
    work: UnitOfWork, event: Event[ledger.EntryPosted], arrivals: Arrivals
) -> None:
    await store.add_line(work, to_line(event.data))
    work.on_commit(partial(arrivals.tell, event.data.account_id))


async def on_membership_changed(work: UnitOfWork, event: Event[users.MembershipChanged]) -> None:
    changed = event.data
    reader = Reader(
        company_id=changed.company_id,
        user_id=changed.user_id,
        may_read=changed.role != ROLE_UNSPECIFIED,
    )
    await store.set_reader(work, reader)


def to_line(posted: ledger.EntryPosted) -> Line:
    return Line(
        account_id=posted.account_id,
        version=posted.version,
        entry_id=posted.entry_id,
        transfer_id=posted.transfer_id,
        amount=wire.from_wire(posted.amount),
        balance_after=wire.from_wire(posted.balance_after),
        counterparty=posted.counterparty,
        description=posted.description,
        occurred_at_us=posted.occurred_at.ToMicroseconds(),
        seal=posted.seal,
    )
