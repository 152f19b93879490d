"""Keeps this service's copies of what others own; the cursor has already dropped repeats."""

from __future__ import annotations

from bank.accounts.v1 import events_pb2 as accounts
from bank.users.v1 import events_pb2 as users
from bank.users.v1.users_pb2 import Role
from mesh.db import UnitOfWork
from mesh.events import Event, Projection

from .domain.payments import may_act
from .store import copies


async def open_account(work: UnitOfWork, event: Event[accounts.AccountOpened]) -> None:
    await copies.open_account(work, event.data.account_id, event.data.company_id)


async def close_account(work: UnitOfWork, event: Event[accounts.AccountClosed]) -> None:
    await copies.close_account(work, event.data.account_id)


async def change_membership(work: UnitOfWork, event: Event[users.MembershipChanged]) -> None:
    role = Role.Name(event.data.role).removeprefix("ROLE_")
    await copies.set_member(work, event.data.user_id, event.data.company_id, may_act(role))


# The name is stored.
COPIES = Projection(
    name="copies",
    on={
        accounts.AccountOpened: open_account,
        accounts.AccountClosed: close_account,
        users.MembershipChanged: change_membership,
    },
    tables=("accounts", "memberships"),
)
