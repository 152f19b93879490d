"""Keeps this service's copy of what users own; the cursor has already dropped repeats."""

from __future__ import annotations

from bank.users.v1 import events_pb2 as users
from bank.users.v1.users_pb2 import Role
from mesh.db import UnitOfWork
from mesh.events import Event, Projection

from . import store
from .domain import may_change


async def change_membership(work: UnitOfWork, event: Event[users.MembershipChanged]) -> None:
    role = Role.Name(event.data.role).removeprefix("ROLE_")
    await store.set_member(work, event.data.user_id, event.data.company_id, may_change(role))


# The name is stored.
MEMBERSHIPS = Projection(
    name="memberships",
    on={users.MembershipChanged: change_membership},
    tables=("memberships",),
)
