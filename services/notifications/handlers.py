"""Reacts to what the others tell; the inbox and the cursor have already dropped repeats."""

from __future__ import annotations

from functools import partial
from typing import Any

from bank.accounts.v1 import events_pb2 as accounts
from bank.pix.v1 import events_pb2 as pix
from bank.support.v1 import events_pb2 as support
from bank.transfers.v1 import events_pb2 as transfers
from bank.users.v1 import events_pb2 as users
from bank.users.v1.users_pb2 import CODE_PURPOSE_PASSWORD_RESET, Role
from mesh.clock import now_us
from mesh.db import UnitOfWork
from mesh.events import Event, Projection, Reaction
from mesh.events.webhooks import Webhooks
from services import wire

from . import store
from .domain import TOLD_OUTSIDE, Occasion


async def on_user_registered(work: UnitOfWork, event: Event[users.UserRegistered]) -> None:
    await store.send(work, occasion(event, event.data.user_id).confirmation())


async def on_code_requested(work: UnitOfWork, event: Event[users.CodeRequested]) -> None:
    why = occasion(event, event.data.user_id)
    reset = event.data.purpose == CODE_PURPOSE_PASSWORD_RESET
    await store.send(work, why.password_reset() if reset else why.confirmation())


async def on_new_device_seen(work: UnitOfWork, event: Event[users.NewDeviceSeen]) -> None:
    await store.send(work, occasion(event, event.data.user_id).new_device())


async def on_invitation_created(work: UnitOfWork, event: Event[users.InvitationCreated]) -> None:
    await store.send(work, occasion(event, event.data.invitation_id).invitation())


async def on_user_erased(work: UnitOfWork, event: Event[users.UserErased]) -> None:
    await store.forget(work, event.data.user_id)


async def on_transfer_completed(
    work: UnitOfWork, event: Event[transfers.TransferCompleted]
) -> None:
    told = event.data
    why = occasion(event, told.requested_by, told.transfer_id)
    await store.send(work, why.transfer_completed(wire.from_wire(told.amount)))


async def on_transfer_failed(work: UnitOfWork, event: Event[transfers.TransferFailed]) -> None:
    told = event.data
    why = occasion(event, told.requested_by, told.transfer_id)
    await store.send(work, why.transfer_failed(wire.from_wire(told.amount), told.failure_reason))


async def on_pix_received(work: UnitOfWork, event: Event[pix.PixReceived]) -> None:
    told = event.data
    why = occasion(event, await store.owner_of(work, told.account_id), told.deposit_id)
    await store.send(work, why.pix_received(wire.from_wire(told.amount)))


async def on_ticket_answered(work: UnitOfWork, event: Event[support.TicketAnswered]) -> None:
    why = occasion(event, event.data.opened_by, ticket_id=event.data.ticket_id)
    await store.send(work, why.ticket_answered())


async def on_account_opened(work: UnitOfWork, event: Event[accounts.AccountOpened]) -> None:
    await store.add_owner(work, event.data.account_id, event.data.owner_id)


async def on_membership_changed(work: UnitOfWork, event: Event[users.MembershipChanged]) -> None:
    changed = event.data
    role = Role.Name(changed.role).removeprefix("ROLE_").replace("UNSPECIFIED", "")
    await store.set_role(work, changed.user_id, changed.company_id, role)


async def post(work: UnitOfWork, event: Event[Any], posted: Webhooks) -> None:
    """Has an event posted to the webhooks of the company that it concerns.

    Accounts tell of an account first when it is opened: one that is not known then is the bank's.
    """
    if isinstance(event.data, accounts.AccountOpened):
        await store.add_account(work, event.data.account_id, event.data.company_id)
    _, service, _, name = event.type.split(".")
    told = f"{service}.{name}"
    account_id = getattr(event.data, TOLD_OUTSIDE[told])
    find = store.company_of if service == "accounts" else store.known_company_of
    company_id = await find(work, account_id) if account_id else ""
    if company_id:
        await posted.offer(work, event, company_id, told)


def outside(posted: Webhooks) -> Reaction:
    """The reaction that has events posted. The name is stored."""
    told = (
        accounts.AccountOpened,
        accounts.AccountClosed,
        accounts.EntryPosted,
        accounts.HoldPlaced,
        accounts.HoldReleased,
        transfers.TransferCreated,
        transfers.TransferCompleted,
        transfers.TransferFailed,
        transfers.TransferReversed,
        pix.PixReceived,
        pix.PixReceiptReturned,
    )
    return Reaction(name="webhooks", on=dict.fromkeys(told, partial(post, posted=posted)))


def occasion(
    event: Event[Any], user_id: str, transfer_id: str = "", ticket_id: str = ""
) -> Occasion:
    return Occasion(
        event_id=event.id,
        user_id=user_id,
        transfer_id=transfer_id,
        ticket_id=ticket_id,
        now_us=now_us(),
    )


# The names are stored.
NOTIFY = Reaction(
    name="notify",
    on={
        users.UserRegistered: on_user_registered,
        users.CodeRequested: on_code_requested,
        users.NewDeviceSeen: on_new_device_seen,
        users.InvitationCreated: on_invitation_created,
        users.UserErased: on_user_erased,
        transfers.TransferCompleted: on_transfer_completed,
        transfers.TransferFailed: on_transfer_failed,
        pix.PixReceived: on_pix_received,
        support.TicketAnswered: on_ticket_answered,
    },
)
OWNERS = Projection(
    name="owners", on={accounts.AccountOpened: on_account_opened}, tables=("owners",)
)
MEMBERS = Projection(
    name="members", on={users.MembershipChanged: on_membership_changed}, tables=("members",)
)
