"""How the copies of others' facts follow their events."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

from bank.accounts.v1 import events_pb2 as accounts
from bank.users.v1 import events_pb2 as users
from bank.users.v1.users_pb2 import Role
from mesh.db import Database
from mesh.errors import Refused
from mesh.events import Event
from mesh.ids import new_id
from services.transfers import handlers
from services.transfers.store import transfers

from .fakes import COMPANY, PAYEE, PAYER, a_transfer


async def hear(database: Database, data: Message) -> None:
    event = Event(
        id=new_id(),
        type=data.DESCRIPTOR.full_name,
        source="",
        subject="",
        key="",
        version=0,
        time_us=0,
        traceparent="",
        data=data,
        stream="",
        sequence=1,
    )
    await database.transact(handlers.COPIES.on[type(data)], event)


async def reason(database: Database) -> str:
    try:
        await database.transact(transfers.accept, a_transfer())
    except Refused as refusal:
        return refusal.reason
    return ""


def role(value: Role.ValueType) -> users.MembershipChanged:
    return users.MembershipChanged(company_id=COMPANY, user_id="ana", role=value)


@pytest.fixture
async def heard(database: Database) -> Database:
    for account_id in (PAYER, PAYEE):
        event = accounts.AccountOpened(
            account_id=account_id, company_id=COMPANY, owner_id="ana", currency_code="BRL"
        )
        for _ in range(2):
            await hear(database, event)
    await hear(database, role(Role.ROLE_OWNER))
    return database


async def test_an_owner_pays_between_accounts_that_were_told_of(heard: Database) -> None:
    assert await reason(heard) == ""


async def test_a_closed_account_stays_closed_when_its_opening_is_heard_again(
    heard: Database,
) -> None:
    await hear(heard, accounts.AccountClosed(account_id=PAYEE))
    await hear(heard, accounts.AccountOpened(account_id=PAYEE, company_id=COMPANY))

    assert await reason(heard) == "ACCOUNT_CLOSED"


@pytest.mark.parametrize(
    ("value", "refusal"),
    [
        (Role.ROLE_OPERATOR, ""),
        (Role.ROLE_VIEWER, "ROLE_MAY_NOT_PAY"),
        (Role.ROLE_UNSPECIFIED, "ACCOUNT_NOT_FOUND"),
    ],
)
async def test_a_role_says_who_may_pay(
    heard: Database, value: Role.ValueType, refusal: str
) -> None:
    await hear(heard, role(value))

    assert await reason(heard) == refusal
