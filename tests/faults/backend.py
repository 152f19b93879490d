"""A service whose caller says how it behaves: `python -m tests.faults.backend`.

`user_id` of what is asked decides. `sleep:<s>` waits, `burn:<ms>` keeps the processor busy,
`fail:<instance>:<share>` fails that share of the calls of one instance (`*`: of all),
`slow:<instance>:<s>` has one instance wait, and
`hops:<n>` asks the service itself n times more. It answers with its instance and, after `hops`,
with the seconds that each hop had left.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

from bank.accounts.v1 import accounts_pb2 as pb
from bank.accounts.v1.accounts_pb2_grpc import AccountsServiceServicer, AccountsServiceStub
from mesh.chassis import Chassis, Service
from mesh.errors import Transient
from mesh.rpc import Context
from mesh.rpc.context import remaining_s
from mesh.run import main

ACCOUNT_ID = "0190a8b4-7f00-7000-8000-000000000001"


class Accounts(AccountsServiceServicer):
    def __init__(self, chassis: Chassis) -> None:
        self.instance = chassis.settings.instance_id
        self.accounts = chassis.stub(AccountsServiceStub, "accounts")

    async def DescribeAccount(self, request: Any, context: Context) -> Any:
        what, _, how = request.user_id.partition(":")
        if what == "sleep":
            await asyncio.sleep(float(how))
        elif what == "burn":
            until = time.thread_time() + float(how) / 1e3
            while time.thread_time() < until:
                pass
        elif what == "fail":
            instance, _, share = how.partition(":")
            if instance in ("*", self.instance) and random.random() < float(share):
                raise Transient("BROKEN", "This instance is broken.")
        elif what == "slow":
            instance, _, seconds = how.partition(":")
            if instance == self.instance:
                await asyncio.sleep(float(seconds))
        elif what == "hops":
            return pb.DescribeAccountResponse(company_id=await self.hop(int(how)))
        return pb.DescribeAccountResponse(company_id=self.instance)

    async def hop(self, more: int) -> str:
        left = f"{remaining_s():.6f}"
        if not more:
            return left
        further = pb.DescribeAccountRequest(account_id=ACCOUNT_ID, user_id=f"hops:{more - 1}")
        return f"{left} {(await self.accounts.DescribeAccount(further)).company_id}"


def build(chassis: Chassis) -> Service:
    return Service(name="accounts", api=[Accounts(chassis)])


if __name__ == "__main__":
    main("accounts", build)
