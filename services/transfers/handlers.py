"""Keeps this service's copies of what others own."""

from __future__ import annotations

from bank.accounts.v1 import events_pb2 as accounts
from bank.pix.v1 import events_pb2 as pix
from bank.users.v1 import events_pb2 as users
from bank.users.v1.users_pb2 import Role
from mesh.db import UnitOfWork
from mesh.events import Event, Projection, Reaction

from .domain.transfers import Account, may_pay
from .store import copies, transfers


async def open_account(work: UnitOfWork, event: Event[accounts.AccountOpened]) -> None:
    account = Account(
        id=event.data.account_id,
        company_id=event.data.company_id,
        currency=event.data.currency_code,
        is_open=True,
        may_pay=None,
    )
    await copies.open_account(work, account)


async def close_account(work: UnitOfWork, event: Event[accounts.AccountClosed]) -> None:
    await copies.close_account(work, event.data.account_id)


async def change_membership(work: UnitOfWork, event: Event[users.MembershipChanged]) -> None:
    role = Role.Name(event.data.role).removeprefix("ROLE_")
    await copies.set_member(work, event.data.user_id, event.data.company_id, may_pay(role), role)


async def bring_back(work: UnitOfWork, event: Event[pix.PixPaymentReturned]) -> None:
    returned = event.data
    await transfers.came_back(
        work, returned.payment_id, returned.returned.minor_units, returned.return_id
    )


# The names are stored.
COPIES = Projection(
    name="copies",
    on={
        accounts.AccountOpened: open_account,
        accounts.AccountClosed: close_account,
        users.MembershipChanged: change_membership,
    },
    tables=("accounts", "memberships"),
)
RETURNS = Reaction(name="returns", on={pix.PixPaymentReturned: bring_back})
