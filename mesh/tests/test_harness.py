from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bank.accounts.v1 import accounts_pb2 as pb
from bank.accounts.v1 import events_pb2
from bank.accounts.v1.accounts_pb2_grpc import AccountsServiceServicer, AccountsServiceStub
from bank.statements.v1 import statements_pb2
from bank.statements.v1.statements_pb2_grpc import StatementsServiceServicer, StatementsServiceStub
from mesh import errors
from mesh.chassis import Chassis, Service
from mesh.db import UnitOfWork
from mesh.events import Event, Projection
from mesh.rpc import Context, caller
from mesh.testing.harness import running

ACCOUNT_ID = "0190a8b4-7f00-7000-8000-000000000001"
USER_ID = "0190a8b4-7f00-7000-8000-000000000002"

heard: list[str] = []


async def hear(work: UnitOfWork, event: Event[events_pb2.AccountOpened]) -> None:
    heard.append(event.key)
    work.publish(events_pb2.AccountClosed(account_id=event.key), version=2)


class Statements(StatementsServiceServicer):
    """Asks the accounts service on its own behalf, and for the page `mine` on the user's."""

    def __init__(self, chassis: Chassis) -> None:
        self.accounts = chassis.stub(AccountsServiceStub, "accounts")

    async def GetStatement(self, request: Any, context: Context) -> Any:
        user = caller().must_be_user()
        account_id = request.account_id
        if request.page_token == "mine":
            await self.accounts.GetAccount(pb.GetAccountRequest(account_id=account_id))
        asked = pb.DescribeAccountRequest(account_id=account_id, user_id=user.user_id)
        answer = await self.accounts.DescribeAccount(asked)
        return statements_pb2.GetStatementResponse(next_page_token=answer.company_id)

    ListMonths = GetStatement

    async def WatchEvents(self, request: Any, context: Context) -> AsyncIterator[Any]:
        yield await self.GetStatement(request, context)

    ExportStatement = WatchEvents


def build(chassis: Chassis) -> Service:
    projection = Projection(name="heard", on={events_pb2.AccountOpened: hear})
    return Service(name="statements", api=[Statements(chassis)], projections=[projection])


class Accounts(AccountsServiceServicer):
    async def DescribeAccount(self, request: Any, context: Context) -> Any:
        company = f"{caller().workload} for {request.user_id}"
        return pb.DescribeAccountResponse(company_id=company)

    ListAccounts = GetAccount = PostEntry = PlaceHold = DescribeAccount
    PostHold = ReleaseHold = ReverseEntry = GetBalance = CloseAccount = VerifyLedger = (
        DescribeAccount
    )


async def test_a_services_name_travels_and_a_users_token_does_not(tmp_path: Path) -> None:
    request = statements_pb2.GetStatementRequest(account_id=ACCOUNT_ID)
    mine = statements_pb2.GetStatementRequest(account_id=ACCOUNT_ID, page_token="mine")
    async with running(
        build, tmp_path, service="statements", peers={"accounts": [Accounts()]}
    ) as statements:
        stub = statements.stub(StatementsServiceStub)
        with statements.signed_in(USER_ID):
            answer = await stub.GetStatement(request)
            with pytest.raises(errors.Unauthenticated):
                await stub.GetStatement(mine)
            await statements.peers["accounts"].stop(None)
            with pytest.raises(errors.Transient):
                await stub.GetStatement(request)

    assert answer.next_page_token == f"statements for {USER_ID}"


async def test_a_users_token_is_of_no_use_to_the_service_that_was_shown_it(tmp_path: Path) -> None:
    async with running(
        build, tmp_path, service="statements", peers={"accounts": [Accounts()]}
    ) as statements:
        stub = statements.stub(StatementsServiceStub, workload="suppliers")
        with statements.signed_in(USER_ID), pytest.raises(errors.Unauthenticated) as refused:
            await stub.GetStatement(statements_pb2.GetStatementRequest(account_id=ACCOUNT_ID))

    assert refused.value.reason == "TOKEN_NOT_YOURS"


async def test_events_are_heard_and_told_without_nats(tmp_path: Path) -> None:
    async with running(build, tmp_path, service="statements") as statements:
        await statements.tell(events_pb2.AccountOpened(account_id="a1"))
        told = await statements.told(events_pb2.AccountClosed)

    assert heard == ["a1"]
    assert [(event.data.account_id, event.version) for event in told] == [("a1", 2)]
