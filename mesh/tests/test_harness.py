from __future__ import annotations

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

heard: list[str] = []


async def hear(work: UnitOfWork, event: Event[events_pb2.AccountOpened]) -> None:
    heard.append(event.key)
    work.publish(events_pb2.AccountClosed(account_id=event.key), version=2)


class Statements(StatementsServiceServicer):
    """Asks the accounts service on behalf of the user, and answers with the company's id."""

    def __init__(self, chassis: Chassis) -> None:
        self.accounts = chassis.stub(AccountsServiceStub, "accounts")

    async def GetStatement(self, request: Any, context: Context) -> Any:
        caller().must_be_user()
        asked = pb.GetAccountRequest(account_id=request.account_id)
        answer = await self.accounts.GetAccount(asked)
        return statements_pb2.GetStatementResponse(next_page_token=answer.account.company_id)


def build(chassis: Chassis) -> Service:
    projection = Projection(name="heard", on={events_pb2.AccountOpened: hear})
    return Service(name="statements", api=[Statements(chassis)], projections=[projection])


class Accounts(AccountsServiceServicer):
    async def GetAccount(self, request: Any, context: Context) -> Any:
        told = caller()
        company = f"{told.workload} for {told.must_be_user().user_id}"
        return pb.GetAccountResponse(account=pb.Account(company_id=company))

    ListAccounts = DescribeAccount = PostEntry = PlaceHold = GetAccount
    PostHold = ReleaseHold = ReverseEntry = CloseAccount = VerifyLedger = GetAccount


async def test_the_users_token_and_the_workloads_name_travel_from_service_to_service(
    tmp_path: Path,
) -> None:
    request = statements_pb2.GetStatementRequest(account_id=ACCOUNT_ID)
    async with running(
        build, tmp_path, service="statements", peers={"accounts": [Accounts()]}
    ) as statements:
        stub = statements.stub(StatementsServiceStub)
        with statements.signed_in("maria"):
            answer = await stub.GetStatement(request)
            await statements.peers["accounts"].stop(None)
            with pytest.raises(errors.Transient):
                await stub.GetStatement(request)

    assert answer.next_page_token == "statements for maria"


async def test_events_are_heard_and_told_without_nats(tmp_path: Path) -> None:
    async with running(build, tmp_path, service="statements") as statements:
        await statements.tell(events_pb2.AccountOpened(account_id="a1"))
        told = await statements.told(events_pb2.AccountClosed)

    assert heard == ["a1"]
    assert [(event.data.account_id, event.version) for event in told] == [("a1", 2)]
