"""Reacts to what users tells, and to the time; the inbox and the cursor have dropped repeats."""

from __future__ import annotations

import asyncio
import logging

from bank.users.v1 import events_pb2 as events
from bank.users.v1.users_pb2 import Role
from mesh.chassis import Chassis
from mesh.clock import now_us
from mesh.db import UnitOfWork
from mesh.errors import Transient
from mesh.events import Event, Projection, Reaction
from mesh.ids import new_id

from . import store
from .domain import Account, expire_holds

EXPIRE_HOLDS = store.by_the_books(expire_holds)
EXPIRED_AT_ONCE = 100
LOOK_FOR_EXPIRED_S = 1.0

log = logging.getLogger(__name__)


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


async def release_expired_holds(chassis: Chassis) -> None:
    """Gives expired holds back, for ever; they can no longer be posted from the moment on."""
    while True:
        try:
            while await chassis.transact(EXPIRE_HOLDS, now_us(), EXPIRED_AT_ONCE):
                pass
        except Transient as error:
            log.info("expired holds wait: %s", error)
        await asyncio.sleep(LOOK_FOR_EXPIRED_S)


# The names are stored.
OPENING = Reaction(name="opening", on={events.CompanyOpened: open_account})
MEMBERS = Projection(
    name="members", on={events.MembershipChanged: change_membership}, tables=("memberships",)
)
