"""Reacts to what the others tell; the inbox and the cursor have already dropped repeats."""

from __future__ import annotations

from functools import partial
from typing import Any

from bank.accounts.v1 import events_pb2 as accounts
from bank.pix.v1 import events_pb2 as pix
from bank.pix.v1.keys_pb2 import PIX_CLAIM_STATUS_WAITING_RESOLUTION
from bank.support.v1 import events_pb2 as support
from bank.transfers.v1 import events_pb2 as transfers
from bank.users.v1 import events_pb2 as users
from bank.users.v1.users_pb2 import CODE_PURPOSE_PASSWORD_RESET, ROLE_OWNER, Role
from mesh.clock import now_us
from mesh.db import UnitOfWork
from mesh.events import Event, Projection, Reaction
from mesh.events.webhooks import Webhooks
from services import wire

from . import store
from .domain.messages import Kind
from .domain.telling import NOTHING, Occasion
from .domain.texts import Facts
from .domain.webhooks import TOLD_OUTSIDE


async def tell(
    work: UnitOfWork,
    event: Event[Any],
    user_id: str,
    kind: Kind,
    facts: Facts = NOTHING,
    *,
    transfer_id: str = "",
    ticket_id: str = "",
) -> None:
    """Tells a user of an event, once, as they want to be told."""
    if not user_id:
        return
    occasion = Occasion(
        event_id=event.id,
        user_id=user_id,
        transfer_id=transfer_id,
        ticket_id=ticket_id,
        now_us=now_us(),
    )
    message = occasion.message(kind, await store.preferences_of(work, user_id), facts)
    if message is not None:
        await store.send(work, message)


async def on_user_registered(work: UnitOfWork, event: Event[users.UserRegistered]) -> None:
    await tell(work, event, event.data.user_id, Kind.CONFIRMATION)


async def on_code_requested(work: UnitOfWork, event: Event[users.CodeRequested]) -> None:
    is_reset = event.data.purpose == CODE_PURPOSE_PASSWORD_RESET
    kind = Kind.PASSWORD_RESET if is_reset else Kind.CONFIRMATION
    await tell(work, event, event.data.user_id, kind)


async def on_new_device_seen(work: UnitOfWork, event: Event[users.NewDeviceSeen]) -> None:
    await tell(work, event, event.data.user_id, Kind.NEW_DEVICE)


async def on_invitation_created(work: UnitOfWork, event: Event[users.InvitationCreated]) -> None:
    await tell(work, event, event.data.invitation_id, Kind.INVITATION)


async def on_role_changed(work: UnitOfWork, event: Event[users.MembershipChanged]) -> None:
    # Who has just opened a company knows.
    if event.data.role != ROLE_OWNER:
        await tell(work, event, event.data.user_id, Kind.MEMBERSHIP_CHANGED)


async def on_user_erased(work: UnitOfWork, event: Event[users.UserErased]) -> None:
    await store.forget(work, event.data.user_id)


async def on_transfer_scheduled(
    work: UnitOfWork, event: Event[transfers.TransferScheduled]
) -> None:
    at_us = event.data.scheduled_for.ToMicroseconds()
    await store.note_scheduled(work, event.data.transfer_id, at_us)


async def on_transfer_awaiting_approval(
    work: UnitOfWork, event: Event[transfers.TransferAwaitingApproval]
) -> None:
    told = event.data
    facts = Facts(amount=wire.from_wire(told.amount), at_us=told.expires_at.ToMicroseconds())
    for approver in await store.approvers_of(work, told.company_id):
        # Nobody approves what they have asked for themselves.
        if approver != told.requested_by:
            await tell(
                work, event, approver, Kind.APPROVAL_NEEDED, facts, transfer_id=told.transfer_id
            )


async def on_transfer_approved(work: UnitOfWork, event: Event[transfers.TransferApproved]) -> None:
    told = event.data
    await tell(work, event, told.requested_by, Kind.TRANSFER_APPROVED, transfer_id=told.transfer_id)


async def on_transfer_cancelled(
    work: UnitOfWork, event: Event[transfers.TransferCancelled]
) -> None:
    told = event.data
    await store.end_scheduled(work, told.transfer_id)
    if told.cancelled_by != told.requested_by:
        kind = CANCELLATIONS.get(told.reason, Kind.TRANSFER_CANCELLED)
        await tell(work, event, told.requested_by, kind, transfer_id=told.transfer_id)


async def on_transfer_completed(
    work: UnitOfWork, event: Event[transfers.TransferCompleted]
) -> None:
    told, facts = event.data, Facts(amount=wire.from_wire(event.data.amount))
    await store.end_scheduled(work, told.transfer_id)
    await tell(
        work,
        event,
        told.requested_by,
        Kind.TRANSFER_COMPLETED,
        facts,
        transfer_id=told.transfer_id,
    )


async def on_transfer_failed(work: UnitOfWork, event: Event[transfers.TransferFailed]) -> None:
    told = event.data
    at_us = await store.end_scheduled(work, told.transfer_id)
    kind = Kind.TRANSFER_FAILED if at_us is None else Kind.SCHEDULED_TRANSFER_FAILED
    facts = Facts(amount=wire.from_wire(told.amount), reason=told.failure_reason, at_us=at_us)
    await tell(work, event, told.requested_by, kind, facts, transfer_id=told.transfer_id)


async def on_transfer_reversed(work: UnitOfWork, event: Event[transfers.TransferReversed]) -> None:
    told, facts = event.data, Facts(amount=wire.from_wire(event.data.returned))
    await tell(
        work, event, told.requested_by, Kind.TRANSFER_RETURNED, facts, transfer_id=told.transfer_id
    )


async def on_pix_received(work: UnitOfWork, event: Event[pix.PixReceived]) -> None:
    told, facts = event.data, Facts(amount=wire.from_wire(event.data.amount))
    owner = await store.owner_of(work, told.account_id)
    await tell(work, event, owner, Kind.PIX_RECEIVED, facts, transfer_id=told.deposit_id)


async def on_receipt_returned(work: UnitOfWork, event: Event[pix.PixReceiptReturned]) -> None:
    told, facts = event.data, Facts(amount=wire.from_wire(event.data.amount))
    owner = await store.owner_of(work, told.account_id)
    await tell(work, event, owner, Kind.PIX_RETURNED, facts, transfer_id=told.deposit_id)


async def on_return_failed(work: UnitOfWork, event: Event[pix.PixReceiptReturnFailed]) -> None:
    told = event.data
    facts = Facts(amount=wire.from_wire(told.amount), reason=told.failure_reason)
    asker = told.requested_by or await store.owner_of(work, told.account_id)
    await tell(work, event, asker, Kind.PIX_RETURN_FAILED, facts, transfer_id=told.deposit_id)


async def on_claim_changed(work: UnitOfWork, event: Event[pix.PixClaimChanged]) -> None:
    told = event.data
    if told.donor_account_id and told.status == PIX_CLAIM_STATUS_WAITING_RESOLUTION:
        owner = await store.owner_of(work, told.donor_account_id)
        await tell(work, event, owner, Kind.PIX_KEY_CLAIMED)


async def on_account(work: UnitOfWork, event: Event[Any], kind: Kind) -> None:
    """Tells the owner of an account of something that has happened to it."""
    await tell(work, event, await store.owner_of(work, event.data.account_id), kind)


async def on_ticket_answered(work: UnitOfWork, event: Event[support.TicketAnswered]) -> None:
    told = event.data
    await tell(work, event, told.opened_by, Kind.TICKET_ANSWERED, ticket_id=told.ticket_id)


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


CANCELLATIONS = {
    "APPROVAL_REJECTED": Kind.TRANSFER_REJECTED,
    "APPROVAL_EXPIRED": Kind.APPROVAL_EXPIRED,
}

# The names are stored.
NOTIFY = Reaction(
    name="notify",
    on={
        users.UserRegistered: on_user_registered,
        users.CodeRequested: on_code_requested,
        users.NewDeviceSeen: on_new_device_seen,
        users.InvitationCreated: on_invitation_created,
        users.MembershipChanged: on_role_changed,
        users.UserErased: on_user_erased,
        transfers.TransferScheduled: on_transfer_scheduled,
        transfers.TransferAwaitingApproval: on_transfer_awaiting_approval,
        transfers.TransferApproved: on_transfer_approved,
        transfers.TransferCancelled: on_transfer_cancelled,
        transfers.TransferCompleted: on_transfer_completed,
        transfers.TransferFailed: on_transfer_failed,
        transfers.TransferReversed: on_transfer_reversed,
        pix.PixReceived: on_pix_received,
        pix.PixReceiptReturned: on_receipt_returned,
        pix.PixReceiptReturnFailed: on_return_failed,
        pix.PixKeyRegistered: partial(on_account, kind=Kind.PIX_KEY_REGISTERED),
        pix.PixKeyRemoved: partial(on_account, kind=Kind.PIX_KEY_REMOVED),
        pix.PixClaimChanged: on_claim_changed,
        accounts.AccountBlocked: partial(on_account, kind=Kind.ACCOUNT_BLOCKED),
        accounts.AccountUnblocked: partial(on_account, kind=Kind.ACCOUNT_UNBLOCKED),
        accounts.AccountClosed: partial(on_account, kind=Kind.ACCOUNT_CLOSED),
        support.TicketAnswered: on_ticket_answered,
    },
)
OWNERS = Projection(
    name="owners", on={accounts.AccountOpened: on_account_opened}, tables=("owners",)
)
MEMBERS = Projection(
    name="members", on={users.MembershipChanged: on_membership_changed}, tables=("members",)
)
