"""A server and its clients for the tests of this package, over real sockets."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc.aio

from bank.accounts.v1 import accounts_pb2 as pb
from bank.accounts.v1.accounts_pb2_grpc import AccountsServiceServicer, AccountsServiceStub
from mesh.auth.keys import TokenKeys
from mesh.auth.tokens import TokenVerifier
from mesh.rpc.client import Channels, make_stub
from mesh.rpc.consistency import Gate
from mesh.rpc.context import Context
from mesh.rpc.door import Door
from mesh.rpc.load import Load
from mesh.rpc.server import Handlers, make_server
from mesh.testing.tokens import TokenMint

if TYPE_CHECKING:
    from bank.accounts.v1.accounts_pb2_grpc import AccountsServiceAsyncStub

Answer = Callable[[Any, Context], Awaitable[Any]]

ACCOUNT_ID = "0190a8b4-7f00-7000-8000-000000000001"


class Accounts(AccountsServiceServicer):
    """Accounts whose every method answers as the test says."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    async def _any(self, request: Any, context: Context) -> Any:
        return await self.answer(request, context)

    GetAccount = ListAccounts = DescribeAccount = PostEntry = PlaceHold = _any
    PostHold = ReleaseHold = ReverseEntry = GetBalance = CloseAccount = VerifyLedger = _any


@dataclass
class Served:
    """A running server, and how to reach it."""

    address: str
    server: grpc.aio.Server
    channels: Channels
    mint: TokenMint
    load: Load
    gate: Gate

    @property
    def accounts(self) -> AccountsServiceAsyncStub:
        return make_stub(AccountsServiceStub, "accounts", self.channels)

    async def raw(self, path: str, body: bytes = b"", **options: Any) -> bytes:
        """Calls as a client would that knows nothing of the mesh."""
        async with grpc.aio.insecure_channel(self.address) as channel:
            method: Any = channel.unary_unary(path)
            answer: bytes = await method(body, **options)
            return answer


@asynccontextmanager
async def serving(
    *servicers: object,
    workload: str = "transfers",
    is_production: bool = False,
    limit: int = 100,
    clock: Callable[[], float] | None = None,
) -> AsyncIterator[Served]:
    """Serves servicers as if `workload` were the peer of every call."""
    mint = TokenMint(workload=workload or "transfers")
    verifier = TokenVerifier(TokenKeys(mint.fetch), clock=clock or time.time)
    door = Door(workload_of=lambda _: workload, tokens=verifier, is_production=is_production)
    load = Load(limit)
    handlers = Handlers(door, load)
    for servicer in servicers:
        handlers.add(servicer)
    server = make_server()
    handlers.register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    address = f"127.0.0.1:{port}"
    channels = Channels(lambda service: grpc.aio.insecure_channel(address))
    try:
        yield Served(address, server, channels, mint, load, door.gate)
    finally:
        await channels.close()
        await server.stop(None)


def describe() -> pb.DescribeAccountRequest:
    """A request that every rule of its contract allows."""
    return pb.DescribeAccountRequest(account_id=ACCOUNT_ID)
