"""Keeps this service's copies of what others own; the cursor has already dropped repeats.

What an owner tells again from its tables comes in another envelope, with another id and time, and
is the same: a row is made of what has happened, so that a rebuild makes the same rows.
"""

from __future__ import annotations

from uuid import UUID

from bank.accounts.v1 import events_pb2 as ledger
from bank.transfers.v1 import events_pb2 as transfers
from bank.users.v1 import events_pb2 as users
from bank.users.v1.users_pb2 import ROLE_UNSPECIFIED
from mesh.db import UnitOfWork
from mesh.events import Event, Projection, Reaction

from . import store
from .domain import Happening, UnderWay


async def on_membership_changed(work: UnitOfWork, event: Event[users.MembershipChanged]) -> None:
    changed = event.data
    is_member = changed.role != ROLE_UNSPECIFIED
    await store.set_member(work, changed.user_id, changed.company_id, is_member)


async def on_account_opened(work: UnitOfWork, event: Event[ledger.AccountOpened]) -> None:
    opened = event.data
    await store.add_account(work, opened.account_id, opened.company_id)
    noted = Happening(
        id=f"{opened.account_id}/opened",
        kind="ACCOUNT_OPENED",
        account_id=opened.account_id,
        at_us=made_at_us(opened.account_id) or event.time_us,
    )
    await store.note(work, noted)


async def on_account_closed(work: UnitOfWork, event: Event[ledger.AccountClosed]) -> None:
    account_id = event.data.account_id
    noted = Happening(
        id=f"{account_id}/closed",
        kind="ACCOUNT_CLOSED",
        account_id=account_id,
        at_us=event.time_us,
    )
    await store.note(work, noted)


async def on_entry_posted(work: UnitOfWork, event: Event[ledger.EntryPosted]) -> None:
    posted = event.data
    noted = Happening(
        id=f"{posted.account_id}/{posted.version}",
        kind="ENTRY_POSTED",
        account_id=posted.account_id,
        at_us=posted.occurred_at.ToMicroseconds(),
        transfer_id=posted.transfer_id,
        minor_units=posted.amount.minor_units,
        currency=posted.amount.currency_code,
    )
    await store.note(work, noted)


async def on_transfer_begun(
    work: UnitOfWork, event: Event[transfers.TransferCreated | transfers.TransferApproved]
) -> None:
    created = event.data
    is_scheduled = created.HasField("scheduled_for")
    since = created.scheduled_for.ToMicroseconds() if is_scheduled else event.time_us
    under_way = UnderWay(
        transfer_id=created.transfer_id, account_id=created.payer_account_id, since_us=since
    )
    await store.begin(work, under_way)


async def on_transfer_ended(
    work: UnitOfWork,
    event: Event[
        transfers.TransferCompleted
        | transfers.TransferCancelled
        # Nothing is late that waits for a person.
        | transfers.TransferAwaitingApproval
    ],
) -> None:
    await store.end(work, event.data.transfer_id)


async def on_transfer_failed(work: UnitOfWork, event: Event[transfers.TransferFailed]) -> None:
    failed = event.data
    await store.end(work, failed.transfer_id)
    noted = Happening(
        id=event.id,
        kind="TRANSFER_FAILED",
        account_id=failed.payer_account_id,
        at_us=event.time_us,
        transfer_id=failed.transfer_id,
        minor_units=failed.amount.minor_units,
        currency=failed.amount.currency_code,
        reason=failed.failure_reason,
    )
    await store.note(work, noted)


async def on_user_erased(work: UnitOfWork, event: Event[users.UserErased]) -> None:
    await store.forget(work, event.data.user_id)


def made_at_us(id: str) -> int:
    """Tells when something was made, by its id (UUIDv7): however late, and often, that is told.

    0 for an id that does not tell.
    """
    try:
        known = UUID(id)
    except ValueError:
        return 0
    return (known.int >> 80) * 1_000 if known.version == 7 else 0


# The names are stored.
FORGET = Reaction(name="forget", on={users.UserErased: on_user_erased})
COPIES = Projection(
    name="copies",
    on={
        users.MembershipChanged: on_membership_changed,
        ledger.AccountOpened: on_account_opened,
        ledger.AccountClosed: on_account_closed,
        ledger.EntryPosted: on_entry_posted,
        transfers.TransferCreated: on_transfer_begun,
        transfers.TransferAwaitingApproval: on_transfer_ended,
        transfers.TransferApproved: on_transfer_begun,
        transfers.TransferCompleted: on_transfer_ended,
        transfers.TransferCancelled: on_transfer_ended,
        transfers.TransferFailed: on_transfer_failed,
    },
    tables=("accounts", "memberships", "happenings", "under_way"),
)
