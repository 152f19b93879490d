"""Reacts to what users tells; the inbox and the cursor have already dropped repeats."""

from __future__ import annotations

from bank.users.v1 import events_pb2 as events
from bank.users.v1.users_pb2 import Role
from mesh.clock import now_us
from mesh.db import UnitOfWork
from mesh.events import Event, Projection, Reaction
from mesh.ids import new_id

from . import store
from .domain import Account


async def open_account(work: UnitOfWork, event: Event[events.CompanyOpened]) -> None:
    account = Account.new(new_id(), event.data.company_id)
    await store.open_account(work, account, event.data.owner_id, now_us())


async def change_membership(work: UnitOfWork, event: Event[events.MembershipChanged]) -> None:
    user_id, company_id = event.data.user_id, event.data.company_id
    if event.data.role == Role.ROLE_UNSPECIFIED:
        await store.end_role(work, user_id, company_id)
    else:
        role = Role.Name(event.data.role).removeprefix("ROLE_")
        await store.set_role(work, user_id, company_id, role)


# The names are stored.
OPENING = Reaction(name="opening", on={events.CompanyOpened: open_account})
MEMBERS = Projection(
    name="members", on={events.MembershipChanged: change_membership}, tables=("memberships",)
)
