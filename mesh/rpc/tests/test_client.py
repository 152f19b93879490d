from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import grpc.aio
import pytest

from bank.accounts.v1 import accounts_pb2 as pb
from bank.accounts.v1.accounts_pb2_grpc import AccountsServiceStub
from bank.transfers.v1 import transfers_pb2
from bank.transfers.v1.transfers_pb2_grpc import TransfersServiceServicer, TransfersServiceStub
from mesh import errors
from mesh.ids import new_id
from mesh.rpc import mark_replayed
from mesh.rpc.ask import ask_on
from mesh.rpc.client import HOP_S, Channels, make_stub
from mesh.rpc.consistency import Told, write_token
from mesh.rpc.context import Context, Outgoing, current, outgoing

from .parts import ACCOUNT_ID, Accounts, describe, serving

# The core sends deadlines rounded up, by as much as this part.
ROUNDING = 1.035


async def test_before_the_mesh_is_joined_a_call_is_transient() -> None:
    accounts = make_stub(AccountsServiceStub, "accounts", Channels())

    with pytest.raises(errors.Transient) as caught:
        await accounts.DescribeAccount(describe())

    assert caught.value.reason == "MESH_NOT_JOINED"


async def test_a_stub_made_early_works_once_the_mesh_is_joined() -> None:
    async def answer(request: Any, context: Context) -> Any:
        return pb.DescribeAccountResponse(company_id="c1")

    channels = Channels()
    accounts = make_stub(AccountsServiceStub, "accounts", channels)
    async with serving(Accounts(answer)) as served:
        channels.join(lambda service: grpc.aio.insecure_channel(served.address))
        assert (await accounts.DescribeAccount(describe())).company_id == "c1"
        await channels.close()


async def test_nobody_there_is_transient() -> None:
    channels = Channels(lambda service: grpc.aio.insecure_channel("127.0.0.1:1"))
    accounts = make_stub(AccountsServiceStub, "accounts", channels)

    with pytest.raises(errors.Transient) as caught:
        await accounts.DescribeAccount(describe())

    assert caught.value.reason == "UNAVAILABLE"
    await channels.close()


async def test_a_call_has_the_contracts_deadline_at_the_most() -> None:
    seen: list[float] = []

    async def answer(request: Any, context: Context) -> Any:
        seen.append(context.time_remaining() or 0.0)
        return pb.DescribeAccountResponse()

    async with serving(Accounts(answer)) as served:
        await served.accounts.DescribeAccount(describe())
        await served.accounts.DescribeAccount(describe(), timeout=60)
        await served.accounts.DescribeAccount(describe(), timeout=0.5)

    assert all(0.5 < left <= 1.0 * ROUNDING for left in seen[:2])
    assert 0 < seen[2] <= 0.5 * ROUNDING


async def test_a_deadline_shrinks_from_hop_to_hop() -> None:
    left: list[float] = []

    async with serving(Accounts(answer := _Deeper(left, depth=4))) as served:
        answer.accounts = served.accounts
        await served.accounts.DescribeAccount(describe())

    assert len(left) == 4
    assert left == sorted(left, reverse=True)
    assert left[-1] < left[0] - HOP_S


class _Deeper:
    """Asks itself, `depth` times."""

    def __init__(self, left: list[float], depth: int) -> None:
        self.left = left
        self.depth = depth
        self.accounts: Any = None

    async def __call__(self, request: Any, context: Context) -> Any:
        self.left.append(context.time_remaining() or 0.0)
        if len(self.left) < self.depth:
            await self.accounts.DescribeAccount(request)
        return pb.DescribeAccountResponse()


async def test_with_too_little_time_left_nobody_is_asked() -> None:
    reached = []

    async def answer(request: Any, context: Context) -> Any:
        reached.append(request)

    async with serving(Accounts(answer)) as served:
        soon = asyncio.get_running_loop().time() + HOP_S + 0.004
        with outgoing(Outgoing(deadline=soon)), pytest.raises(errors.DeadlineExceeded) as caught:
            await served.accounts.DescribeAccount(describe())

    assert caught.value.reason == "DEADLINE_TOO_CLOSE"
    assert not reached


async def test_a_deadline_that_passes_raises_deadline_exceeded_and_cancels_the_handler() -> None:
    cancelled = asyncio.Event()

    async def answer(request: Any, context: Context) -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with serving(Accounts(answer)) as served:
        with pytest.raises(errors.DeadlineExceeded):
            await served.accounts.DescribeAccount(describe(), timeout=0.2)
        async with asyncio.timeout(5):
            await cancelled.wait()


async def test_a_caller_that_is_cancelled_cancels_what_it_asked() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def answer(request: Any, context: Context) -> Any:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with serving(Accounts(answer)) as served:
        asking = asyncio.ensure_future(served.accounts.DescribeAccount(describe()))
        await begun.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(5):
            await cancelled.wait()


class Transfers(TransfersServiceServicer):
    async def CreateTransfer(self, request: Any, context: Context) -> Any:
        if request.request_id == "again":
            mark_replayed(context)
        return transfers_pb2.CreateTransferResponse()

    GetTransfer = ListTransfers = CancelTransfer = CreateTransfer
    ApproveTransfer = RejectTransfer = RefundTransfer = CreateTransfer


@pytest.mark.parametrize(("request_id", "replayed"), [("first", False), ("again", True)])
async def test_the_edge_is_told_that_an_answer_is_an_earlier_one(
    request_id: str, replayed: bool
) -> None:
    request = transfers_pb2.CreateTransferRequest(request_id=request_id)
    request.payer_account_id = "0190a8b4-7f00-7000-8000-000000000001"
    request.payee.account_id = "0190a8b4-7f00-7000-8000-000000000002"
    request.amount.minor_units, request.amount.currency_code = 100, "BRL"
    async with serving(Transfers()) as served:
        transfers = make_stub(TransfersServiceStub, "transfers", served.channels)
        with outgoing(Outgoing(token=served.mint.token("maria"))) as out:
            await transfers.CreateTransfer(request)

    assert out.replayed is replayed


class Passing(grpc.aio.UnaryUnaryClientInterceptor):
    """Does nothing, and so sends calls through the public API."""

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(details, request)


@pytest.mark.parametrize("interceptors", [[], [Passing()]], ids=["directly", "by the public API"])
async def test_both_ways_to_ask_answer_alike(interceptors: list[Passing]) -> None:
    async def answer(request: Any, context: Context) -> Any:
        if request.user_id:
            raise errors.Overloaded("BUSY", "Come again.", 3.0)
        return pb.DescribeAccountResponse(company_id="c1")

    async with serving(Accounts(answer)) as served:
        channels = Channels(
            lambda service: grpc.aio.insecure_channel(served.address, interceptors=interceptors)
        )
        accounts = make_stub(AccountsServiceStub, "accounts", channels)
        answered = await accounts.DescribeAccount(describe())
        refused = describe()
        refused.user_id = "maria"
        with pytest.raises(errors.Overloaded) as caught:
            await accounts.DescribeAccount(refused)
        await channels.close()
        with pytest.raises(errors.Transient) as closed:
            await accounts.DescribeAccount(describe())

    assert answered.company_id == "c1"
    assert (caught.value.reason, caught.value.retry_after_s) == ("BUSY", 3.0)
    assert closed.value.reason == "CHANNEL_CLOSED"


def test_grpc_looks_as_the_direct_way_expects() -> None:
    async def bind() -> str:
        async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
            ask: Any = ask_on(channel, "/a.B/C")
            return type(ask.__self__).__name__

    assert asyncio.run(bind()) == "_Direct"


async def test_what_a_command_tells_comes_with_its_answer_and_goes_with_the_next_read() -> None:
    told = Told("shop.Placed", "a", new_id())
    waited: list[list[Told]] = []

    async def answer(request: Any, context: Context) -> Any:
        if isinstance(request, pb.ReleaseHoldRequest):
            out = current.get()
            assert out is not None
            out.told.add(told)
            mark_replayed(context)
            return pb.ReleaseHoldResponse()
        return pb.DescribeAccountResponse(company_id="c1")

    async def wait(wanted: Iterable[Told]) -> None:
        waited.append(list(wanted))
        raise errors.Behind("READ_IS_BEHIND", "Not yet.", 2.5)

    async with serving(Accounts(answer)) as served:
        served.gate.wait = wait
        with outgoing(Outgoing()) as out:
            await served.accounts.ReleaseHold(pb.ReleaseHoldRequest(hold_id=ACCOUNT_ID))
        assert (out.told, out.replayed) == ({told}, True)
        await served.accounts.DescribeAccount(describe())
        with (
            outgoing(Outgoing(after=write_token(out.told))),
            pytest.raises(errors.Behind, match="Not yet") as caught,
        ):
            await served.accounts.DescribeAccount(describe())
    assert caught.value.retry_after_s == 2.5
    assert waited == [[told]]
