"""Keeps this service's copy of what users own; the cursor has already dropped repeats."""

from __future__ import annotations

from bank.transfers.v1 import events_pb2 as transfers
from bank.users.v1 import events_pb2 as users
from bank.users.v1.users_pb2 import Role
from mesh.db import UnitOfWork
from mesh.events import Event, Projection
from services import wire

from . import store
from .domain import Payment, PaymentStatus, may_change


async def change_membership(work: UnitOfWork, event: Event[users.MembershipChanged]) -> None:
    role = Role.Name(event.data.role).removeprefix("ROLE_")
    await store.set_member(work, event.data.user_id, event.data.company_id, may_change(role))


async def create_payment(work: UnitOfWork, event: Event[transfers.TransferCreated]) -> None:
    told = event.data
    if told.supplier_id:
        payment = Payment(
            transfer_id=told.transfer_id,
            supplier_id=told.supplier_id,
            payer=told.payer_account_id,
            amount=wire.from_wire(told.amount),
            created_at_us=event.time_us,
        )
        await store.add_payment(work, payment)


async def complete_payment(work: UnitOfWork, event: Event[transfers.TransferCompleted]) -> None:
    await store.end_payment(work, event.data.transfer_id, PaymentStatus.PAID)


async def fail_payment(work: UnitOfWork, event: Event[transfers.TransferFailed]) -> None:
    await store.end_payment(work, event.data.transfer_id, PaymentStatus.FAILED)


async def cancel_payment(work: UnitOfWork, event: Event[transfers.TransferCancelled]) -> None:
    await store.end_payment(work, event.data.transfer_id, PaymentStatus.CANCELLED)


async def return_payment(work: UnitOfWork, event: Event[transfers.TransferReversed]) -> None:
    returned = event.data.returned.minor_units
    await store.end_payment(work, event.data.transfer_id, PaymentStatus.RETURNED, returned)


# The names are stored.
MEMBERSHIPS = Projection(
    name="memberships",
    on={users.MembershipChanged: change_membership},
    tables=("memberships",),
)
PAYMENTS = Projection(
    name="payments",
    on={
        transfers.TransferCreated: create_payment,
        transfers.TransferCompleted: complete_payment,
        transfers.TransferFailed: fail_payment,
        transfers.TransferCancelled: cancel_payment,
        transfers.TransferReversed: return_payment,
    },
    tables=("payments",),
)
