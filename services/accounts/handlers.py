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
from .domain.books import End
from .domain.chart import Account
from .domain.orders import Release
from .store import Counter

EXPIRED_AT_ONCE = 100
LOOK_FOR_EXPIRED_S = 1.0

log = logging.getLogger(__name__)


async def open_account(work: UnitOfWork, event: Event[events.CompanyOpened]) -> None:
    account = Account(id=new_id(), company_id=event.data.company_id)
    await store.open_account(work, account, event.data.owner_id, now_us())


async def change_membership(work: UnitOfWork, event: Event[events.MembershipChanged]) -> None:
    user_id, company_id = event.data.user_id, event.data.company_id
    if event.data.role == Role.ROLE_UNSPECIFIED:
        await store.end_role(work, user_id, company_id)
    else:
        role = Role.Name(event.data.role).removeprefix("ROLE_")
        await store.set_role(work, user_id, company_id, role)


async def release_expired_holds(chassis: Chassis, counter: Counter) -> None:
    """Gives expired holds back, for ever. They cannot be posted from the moment on."""
    while True:
        try:
            while await expire_holds(chassis, counter, now_us()):
                pass
        except Transient as error:
            log.info("expired holds wait: %s", error)
        await asyncio.sleep(LOOK_FOR_EXPIRED_S)


async def expire_holds(chassis: Chassis, counter: Counter, at_us: int) -> int:
    """Gives some expired holds back, and tells how many there were."""
    overdue = await chassis.read(store.find_overdue, at_us, EXPIRED_AT_ONCE)
    orders = (counter.take(Release(hold_id=hold_id, why=End.EXPIRED)) for hold_id in overdue)
    await asyncio.gather(*orders)
    return len(overdue)


# The names are stored.
OPENING = Reaction(name="opening", on={events.CompanyOpened: open_account})
MEMBERS = Projection(
    name="members", on={events.MembershipChanged: change_membership}, tables=("memberships",)
)
