from __future__ import annotations

import asyncio
import json
import logging
from typing import Any, cast

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import HealthServicer

from bank.accounts.v1 import accounts_pb2 as pb
from bank.pix.v1.pix_pb2_grpc import PixServiceServicer
from mesh import errors
from mesh.rpc import caller
from mesh.rpc.context import Context, Outgoing, outgoing, remaining_s
from mesh.rpc.door import Door
from mesh.rpc.load import Load
from mesh.rpc.server import Handlers, make_server
from mesh.rpc.status import DETAILS_KEY
from observability import metrics, tracing
from observability.spans import RecordedSpan
from observability.tracing import Span

from .parts import ACCOUNT_ID, Accounts, describe, serving

DESCRIBE = "/bank.accounts.v1.AccountsService/DescribeAccount"
GET = "/bank.accounts.v1.AccountsService/GetAccount"


async def company(request: Any, context: Context) -> Any:
    return pb.DescribeAccountResponse(company_id="c1")


async def account(request: Any, context: Context) -> Any:
    return pb.GetAccountResponse(account=pb.Account(account_id=caller().must_be_user().user_id))


async def test_a_call_is_answered() -> None:
    async with serving(Accounts(company)) as served:
        answer = await served.accounts.DescribeAccount(describe())

    assert answer.company_id == "c1"


async def test_the_handler_is_told_who_calls() -> None:
    seen = []

    async def answer(request: Any, context: Context) -> Any:
        seen.append(caller())
        return pb.DescribeAccountResponse()

    async with serving(Accounts(answer), workload="pix") as served:
        await served.accounts.DescribeAccount(describe())

    assert (seen[0].workload, seen[0].user) == ("pix", None)
    with pytest.raises(errors.Unauthenticated):
        seen[0].must_be_user()


async def test_a_request_that_breaks_its_contract_is_refused_with_each_violation() -> None:
    reached = []

    async def answer(request: Any, context: Context) -> Any:
        reached.append(request)

    request = pb.PostEntryRequest(entry_id="no uuid", transfer_id="x" * 37)
    async with serving(Accounts(answer)) as served:
        with pytest.raises(errors.InvalidArgument) as caught:
            await served.accounts.PostEntry(request)

    assert caught.value.reason == "INVALID_REQUEST"
    assert {"entry_id", "postings", "transfer_id"} == {v.field for v in caught.value.violations}
    assert "no uuid" not in str(caught.value)
    assert not reached


async def test_violations_travel_as_bad_request_beside_an_error_info() -> None:
    async with serving(Accounts(company)) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.raw(DESCRIBE)

    details = dict(caught.value.trailing_metadata() or ())[DETAILS_KEY]
    assert isinstance(details, bytes)
    info, bad = ErrorInfo(), BadRequest()
    status = Status.FromString(details)
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(bad)
    assert (info.reason, info.domain) == ("INVALID_REQUEST", "bank")
    assert bad.field_violations[0].field == "account_id"


@pytest.mark.parametrize("body", [b"\xff\xff\xff", b"\x0a\x02\xc3\x28", b"\x0a\x7f"])
async def test_bytes_that_cannot_be_decoded_are_refused_without_internals(body: bytes) -> None:
    async with serving(Accounts(company)) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.raw(DESCRIBE, body)

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "The request cannot be decoded."


async def test_a_message_above_the_limit_is_refused() -> None:
    request = pb.DescribeAccountRequest(account_id=ACCOUNT_ID, user_id="x" * 300_000)
    async with serving(Accounts(company)) as served:
        with pytest.raises(errors.InvalidArgument) as caught:
            await served.accounts.DescribeAccount(request)

    assert caught.value.reason == "MESSAGE_TOO_LARGE"


async def test_a_method_without_a_policy_is_refused_to_everybody() -> None:
    async with serving(HealthServicer(experimental_non_blocking=False)) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.raw(
                "/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest().SerializeToString()
            )

    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_workload_that_the_contract_does_not_name_is_refused() -> None:
    request = pb.PlaceHoldRequest(hold_id=ACCOUNT_ID, account_id=ACCOUNT_ID)
    async with serving(Accounts(company), workload="statements") as served:
        with pytest.raises(errors.PermissionDenied) as caught:
            await served.accounts.PlaceHold(request)

    assert caught.value.reason == "CALLER_NOT_ALLOWED"


async def test_a_caller_without_a_name_may_not_call_what_is_for_workloads() -> None:
    async with serving(Accounts(company), workload="") as served:
        with pytest.raises(errors.Unauthenticated) as caught:
            await served.accounts.DescribeAccount(describe())

    assert caught.value.reason == "NO_WORKLOAD"


async def test_a_users_method_needs_a_token_and_tells_the_handler_whose() -> None:
    async with serving(Accounts(account)) as served:
        request = pb.GetAccountRequest(account_id=ACCOUNT_ID)
        with pytest.raises(errors.Unauthenticated) as caught:
            await served.accounts.GetAccount(request)
        with outgoing(Outgoing(token=served.mint.token("maria"))):
            answer = await served.accounts.GetAccount(request)

    assert caught.value.reason == "TOKEN_MISSING"
    assert answer.account.account_id == "maria"


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Basic bWFyaWE6", "bearer x", "Bearer x.y"]
)
async def test_whatever_is_not_a_bearer_token_is_refused(authorization: str) -> None:
    body = pb.GetAccountRequest(account_id=ACCOUNT_ID).SerializeToString()
    async with serving(Accounts(account)) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.raw(GET, body, metadata=(("authorization", authorization),))

    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_the_users_token_is_not_shown_to_methods_for_workloads() -> None:
    seen = []

    async def answer(request: Any, context: Context) -> Any:
        seen.append(dict(context.invocation_metadata() or ()))
        return pb.DescribeAccountResponse()

    async with serving(Accounts(answer)) as served:
        with outgoing(Outgoing(token=served.mint.token("maria"))):
            await served.accounts.DescribeAccount(describe())

    assert "authorization" not in seen[0]


class Pix(PixServiceServicer):
    async def CreateDeposit(self, request: Any, context: Context) -> Any:
        raise AssertionError("must not be reached")

    SendPayment = GetPayment = CreateDeposit


@pytest.mark.parametrize(
    ("is_production", "code"),
    [(False, grpc.StatusCode.INVALID_ARGUMENT), (True, grpc.StatusCode.PERMISSION_DENIED)],
)
async def test_a_sandbox_method_is_refused_in_production(
    is_production: bool, code: grpc.StatusCode
) -> None:
    async with serving(Pix(), is_production=is_production) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.raw("/bank.pix.v1.PixService/CreateDeposit")

    assert caught.value.code() is code


async def test_a_server_that_bears_no_more_says_so_and_when_to_come_again() -> None:
    begun, free = asyncio.Event(), asyncio.Event()

    async def answer(request: Any, context: Context) -> Any:
        begun.set()
        await free.wait()
        return pb.DescribeAccountResponse()

    async with serving(Accounts(answer), limit=1) as served:
        first = asyncio.ensure_future(served.accounts.DescribeAccount(describe()))
        await begun.wait()
        with pytest.raises(errors.Overloaded) as caught:
            await served.accounts.DescribeAccount(describe())
        free.set()
        await first
        assert served.load.running == 0

    assert caught.value.retry_after_s > 0


async def test_a_handler_is_told_how_long_it_has() -> None:
    seen: list[float] = []

    async def answer(request: Any, context: Context) -> Any:
        seen.append(remaining_s() or 0)
        return pb.DescribeAccountResponse()

    async with serving(Accounts(answer)) as served:
        await served.raw(DESCRIBE, describe().SerializeToString())
        await served.raw(DESCRIBE, describe().SerializeToString(), timeout=0.5)

    assert 0.5 < seen[0] <= 1.0  # The contract's, for a client that sets none.
    assert 0 < seen[1] <= 0.5 * 1.035  # The core rounds up.


async def test_an_attempt_that_is_not_the_first_is_counted_and_marked() -> None:
    attempts: list[Span] = []

    async def answer(request: Any, context: Context) -> Any:
        attempts.append(tracing.current_span())
        if len(attempts) < 3:
            raise errors.Transient("AWAY", "It is away.")
        return pb.DescribeAccountResponse()

    repeats = metrics.RPC_SERVER_REPEATS.bind(DESCRIBE[1:], "transfers")
    before = repeats.value
    retry = {
        "maxAttempts": 4,
        "initialBackoff": "0.01s",
        "maxBackoff": "0.01s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    config = {"methodConfig": [{"name": [{}], "retryPolicy": retry}]}
    tracing.configure(service="test", otlp_url="http://127.0.0.1:9")
    try:
        async with (
            serving(Accounts(answer)) as served,
            grpc.aio.insecure_channel(
                served.address, options=[("grpc.service_config", json.dumps(config))]
            ) as channel,
        ):
            ask: Any = channel.unary_unary(DESCRIBE)
            await ask(describe().SerializeToString())
    finally:
        tracing.shutdown(0)

    assert repeats.value - before == 2
    marks = [
        cast(RecordedSpan, span).attributes.get("mesh.rpc.previous_attempts") for span in attempts
    ]
    assert marks == [None, 1, 2]


async def test_the_server_ends_a_call_whose_client_would_wait_for_ever() -> None:
    ended = asyncio.Event()

    async def answer(request: Any, context: Context) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with serving(Accounts(answer)) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.raw(DESCRIBE, describe().SerializeToString())

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert ended.is_set()


async def test_a_bug_is_logged_with_its_place(caplog: pytest.LogCaptureFixture) -> None:
    async def answer(request: Any, context: Context) -> Any:
        raise KeyError("payer")

    async with serving(Accounts(answer)) as served:
        with caplog.at_level(logging.ERROR), pytest.raises(errors.Transient):
            await served.accounts.DescribeAccount(describe())

    assert any(record.exc_info and record.exc_info[0] is KeyError for record in caplog.records)


async def test_running_calls_end_before_the_server_does() -> None:
    begun, free = asyncio.Event(), asyncio.Event()

    async def answer(request: Any, context: Context) -> Any:
        begun.set()
        await free.wait()
        return pb.DescribeAccountResponse(company_id="done")

    async with serving(Accounts(answer)) as served:
        running = asyncio.ensure_future(served.accounts.DescribeAccount(describe()))
        await begun.wait()
        stopping = asyncio.ensure_future(served.server.stop(5))
        await asyncio.sleep(0)
        free.set()
        assert (await running).company_id == "done"
        await stopping


def test_what_serves_no_contract_cannot_be_added() -> None:
    handlers = Handlers(Door(workload_of=lambda _: "", tokens=None, is_production=False), Load(1))  # type: ignore[arg-type]

    with pytest.raises(TypeError, match="serves no generated contract"):
        handlers.add(object())


async def test_grpc_looks_as_the_direct_way_of_taking_calls_in_expects() -> None:
    server = make_server()

    assert type(server).__name__ == "_Direct"
    await server.stop(None)


async def test_where_grpc_looks_otherwise_calls_are_taken_in_by_the_public_api(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mesh.rpc.accept._EXPECTED", ((object, ("what_it_had",)),))

    async with serving(Accounts(company)) as served:
        answer = await served.accounts.DescribeAccount(describe())

    assert type(served.server).__name__ == "Server"
    assert answer.company_id == "c1"
