"""What the start page of an app needs, in one answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message
from starlette.requests import Request
from starlette.responses import Response

from bank.accounts.v1 import accounts_pb2
from bank.pix.v1 import codes_pb2
from bank.transfers.v1 import transfers_pb2
from bank.users.v1 import users_pb2
from mesh.errors import Transient
from mesh.rest import as_user, json_response, to_json

if TYPE_CHECKING:
    from bank.accounts.v1.accounts_pb2_grpc import AccountsServiceAsyncStub
    from bank.pix.v1.codes_pb2_grpc import PixCodesServiceAsyncStub
    from bank.transfers.v1.transfers_pb2_grpc import TransfersServiceAsyncStub
    from bank.users.v1.users_pb2_grpc import UsersServiceAsyncStub

LATEST_TRANSFERS = 5


@dataclass(frozen=True)
class Home:
    """The start page: who is signed in, their accounts, their latest transfers."""

    users: UsersServiceAsyncStub
    accounts: AccountsServiceAsyncStub
    transfers: TransfersServiceAsyncStub

    async def get(self, request: Request) -> Response:
        latest = transfers_pb2.ListTransfersRequest(page_size=LATEST_TRANSFERS)
        async with as_user(request):
            me, accounts, transfers = await asyncio.gather(
                _if_there(self.users.GetMe(users_pb2.GetMeRequest())),
                _if_there(self.accounts.ListAccounts(accounts_pb2.ListAccountsRequest())),
                _if_there(self.transfers.ListTransfers(latest)),
            )
        return json_response(
            {
                "user": me and me["user"],
                "companies": me and me["companies"],
                "accounts": accounts and accounts["accounts"],
                "transfers": transfers and transfers["transfers"],
            }
        )


@dataclass(frozen=True)
class Charges:
    """The charges behind dynamic Pix codes, where the apps of other banks look for them."""

    codes: PixCodesServiceAsyncStub

    async def get(self, request: Request) -> Response:
        asked = codes_pb2.GetChargePayloadRequest(token=request.path_params["token"])
        charge = await self.codes.GetChargePayload(asked)
        return Response(charge.jws, media_type="application/jose")


async def _if_there(answer: Awaitable[Message]) -> dict[str, Any] | None:
    """A part whose service is away is null; the rest of the page stands."""
    try:
        return to_json(await answer)
    except Transient:
        return None
