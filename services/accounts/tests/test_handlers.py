"""What accounts does when users tells something."""

from __future__ import annotations

from typing import TypeVar

import pytest
from google.protobuf.message import Message

from bank.users.v1 import events_pb2 as users
from bank.users.v1.users_pb2 import Role
from mesh.events import Event
from mesh.ids import new_id
from services.accounts import handlers, store
from services.accounts.domain.chart import Account

from .ledger import Ledger

M = TypeVar("M", bound=Message)


def told(data: M) -> Event[M]:
    return Event(
        id=new_id(),
        type=data.DESCRIPTOR.full_name,
        source="users",
        subject="",
        key="",
        version=0,
        time_us=0,
        traceparent="",
        data=data,
        stream="USERS",
        sequence=1,
    )


class Company:
    """A company whose events come in."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.id = new_id()

    async def open(self) -> None:
        event = users.CompanyOpened(company_id=self.id, owner_id="ana")
        await self.ledger.database.transact(handlers.open_account, told(event))

    async def member(self, user_id: str, role: Role.ValueType) -> None:
        event = users.MembershipChanged(company_id=self.id, user_id=user_id, role=role)
        await self.ledger.database.transact(handlers.change_membership, told(event))

    async def accounts(self, user_id: str) -> list[Account]:
        return await self.ledger.database.read(store.accounts_of, user_id)


async def test_a_company_that_opens_gets_an_account_that_its_owner_sees(ledger: Ledger) -> None:
    company = Company(ledger)
    await company.member("ana", Role.ROLE_OWNER)
    await company.open()
    await company.open()

    (account,) = await company.accounts("ana")

    assert (account.company_id, account.currency, account.balance) == (company.id, "BRL", 0)
    assert await ledger.told("AccountOpened") == 1
    assert await company.accounts("eve") == []


@pytest.mark.parametrize(
    ("role", "may_pay"),
    [
        (Role.ROLE_OWNER, True),
        (Role.ROLE_OPERATOR, True),
        (Role.ROLE_APPROVER, False),
        (Role.ROLE_VIEWER, False),
    ],
)
async def test_a_role_says_who_may_pay(ledger: Ledger, role: Role.ValueType, may_pay: bool) -> None:
    company = Company(ledger)
    await company.open()
    await company.member("ana", role)
    (account,) = await company.accounts("ana")

    assert await ledger.database.read(store.describe, account.id, "ana") == (account, may_pay)
    assert await ledger.database.read(store.describe, account.id, "eve") == (account, False)


async def test_who_leaves_a_company_sees_its_account_no_more(ledger: Ledger) -> None:
    company = Company(ledger)
    await company.open()
    await company.member("ana", Role.ROLE_VIEWER)
    await company.member("ana", Role.ROLE_OWNER)
    assert len(await company.accounts("ana")) == 1

    await company.member("ana", Role.ROLE_UNSPECIFIED)

    assert await company.accounts("ana") == []
