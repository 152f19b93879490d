"""Two services for tests, each a process: `python -m mesh.tests.echo accounts` or `edge`.

Accounts answers with the name of its caller, after as many seconds as `user_id` says. The edge asks
it for everyone who sends `GET /?<seconds>`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from bank.accounts.v1 import accounts_pb2 as pb
from bank.accounts.v1.accounts_pb2_grpc import AccountsServiceServicer, AccountsServiceStub
from mesh.chassis import Chassis, Service
from mesh.errors import Error
from mesh.rpc import Context, caller
from mesh.run import main

ACCOUNT_ID = "0190a8b4-7f00-7000-8000-000000000001"


class Accounts(AccountsServiceServicer):
    async def DescribeAccount(self, request: Any, context: Context) -> Any:
        await asyncio.sleep(float(request.user_id or 0))
        return pb.DescribeAccountResponse(company_id=caller().workload)

    GetAccount = ListAccounts = PostEntry = PlaceHold = DescribeAccount
    PostHold = ReleaseHold = ReverseEntry = GetBalance = CloseAccount = VerifyLedger = (
        DescribeAccount
    )


class Edge:
    def __init__(self, chassis: Chassis) -> None:
        self.accounts = chassis.stub(AccountsServiceStub, "accounts")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        asked = pb.DescribeAccountRequest(
            account_id=ACCOUNT_ID, user_id=scope["query_string"].decode()
        )
        try:
            status, body = 200, (await self.accounts.DescribeAccount(asked)).company_id
        except Error as error:
            status, body = 503, f"{error.reason}: {error.message}"
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body.encode()})


def build_accounts(chassis: Chassis) -> Service:
    return Service(name="accounts", api=[Accounts()])


def build_edge(chassis: Chassis) -> Service:
    return Service(name="edge", http=Edge(chassis))


if __name__ == "__main__":
    main(sys.argv[1], {"accounts": build_accounts, "edge": build_edge}[sys.argv[1]])
