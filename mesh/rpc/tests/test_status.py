from __future__ import annotations

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.status_pb2 import Status

from mesh import errors
from mesh.rpc.context import Context
from mesh.rpc.status import DETAILS_KEY, PeerFailed, error_of, status_of

from .parts import Accounts, describe, serving

ERRORS = [
    errors.InvalidArgument("AMOUNT_NOT_POSITIVE", "More than nothing."),
    errors.InvalidArgument(
        "INVALID_REQUEST",
        "Two rules.",
        errors.Violation("a.b[1]", "is wrong"),
        errors.Violation("c", "too"),
    ),
    errors.Unauthenticated("TOKEN_EXPIRED", "Expired."),
    errors.PermissionDenied("CALLER_NOT_ALLOWED", "No."),
    errors.StepUpRequired(300.0),
    errors.NotFound("ACCOUNT_NOT_FOUND", "None."),
    errors.AlreadyExists("REQUEST_ID_TAKEN", "Taken."),
    errors.FailedPrecondition("INSUFFICIENT_FUNDS", "Not enough: ação, não é possível."),
    errors.FailedPrecondition("LIMIT_PER_DAY", "Too much.").telling(most="500", currency="BRL"),
    errors.Transient("DATABASE_UNAVAILABLE", "Not now."),
    errors.Overloaded("OVERLOADED", "Too much.", 2.5),
    errors.DeadlineExceeded("DEADLINE_PASSED", "Too late."),
]


@pytest.mark.parametrize("raised", ERRORS, ids=lambda error: type(error).__name__)
async def test_the_error_a_server_raises_is_the_error_its_client_catches(
    raised: errors.Error,
) -> None:
    async def answer(request: object, context: Context) -> object:
        raise raised

    async with serving(Accounts(answer)) as served:
        with pytest.raises(type(raised)) as caught:
            await served.accounts.DescribeAccount(describe())

    assert type(caught.value) is type(raised)
    assert (caught.value.reason, caught.value.message) == (raised.reason, raised.message)
    assert caught.value.metadata == raised.metadata
    assert getattr(caught.value, "violations", ()) == getattr(raised, "violations", ())
    assert getattr(caught.value, "max_age_s", 0) == getattr(raised, "max_age_s", 0)
    assert getattr(caught.value, "retry_after_s", 0) == getattr(raised, "retry_after_s", 0)


async def test_a_plain_refusal_arrives_as_a_refusal_with_its_reason() -> None:
    async def answer(request: object, context: Context) -> object:
        raise errors.Refused("CLOSED", "It is closed.")

    async with serving(Accounts(answer)) as served:
        with pytest.raises(errors.Refused) as caught:
            await served.accounts.DescribeAccount(describe())

    assert caught.value.reason == "CLOSED"


async def test_a_bug_leaves_as_internal_without_a_word_of_it() -> None:
    async def answer(request: object, context: Context) -> object:
        raise ValueError("secret 123.456.789-09")

    async with serving(Accounts(answer)) as served:
        with pytest.raises(PeerFailed) as caught:
            await served.accounts.DescribeAccount(describe())
        with pytest.raises(grpc.aio.AioRpcError) as plain:
            await served.raw(
                "/bank.accounts.v1.AccountsService/DescribeAccount", describe().SerializeToString()
            )

    assert isinstance(caught.value, errors.Transient)
    assert plain.value.code() is grpc.StatusCode.INTERNAL
    assert plain.value.details() == "The service failed."
    assert "secret" not in repr(plain.value)
    assert "secret" not in repr(plain.value.trailing_metadata())


async def test_an_answer_that_cannot_be_encoded_is_a_bug() -> None:
    async def answer(request: object, context: Context) -> object:
        return None

    async with serving(Accounts(answer)) as served:
        with pytest.raises(PeerFailed):
            await served.accounts.DescribeAccount(describe())


async def test_a_failed_peer_is_no_answer_and_leaves_as_internal_again() -> None:
    status = status_of(PeerFailed("INTERNAL", "what the peer said"))

    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert status.message == "The service failed."


class Failure:
    """The end of a call of a server that is not ours."""

    def __init__(
        self,
        code: grpc.StatusCode,
        details: str | None,
        metadata: tuple[tuple[str, bytes], ...] = (),
    ) -> None:
        self._code, self._details, self._metadata = code, details, metadata

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str | None:
        return self._details

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        return self._metadata


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, errors.InvalidArgument),
        (grpc.StatusCode.OUT_OF_RANGE, errors.FailedPrecondition),
        (grpc.StatusCode.UNAVAILABLE, errors.Transient),
        (grpc.StatusCode.CANCELLED, errors.Transient),
        (grpc.StatusCode.ABORTED, errors.Transient),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.Overloaded),
        (grpc.StatusCode.UNIMPLEMENTED, PeerFailed),
        (grpc.StatusCode.UNKNOWN, PeerFailed),
        (grpc.StatusCode.DATA_LOSS, PeerFailed),
    ],
)
def test_a_status_without_details_is_understood_by_its_code(
    code: grpc.StatusCode, kind: type[errors.Error]
) -> None:
    error = error_of(Failure(code, None))

    assert type(error) is kind
    assert error.reason == code.name


def test_a_message_too_large_for_the_core_is_not_asked_again() -> None:
    text = "CLIENT: Sent message larger than max (300000 vs. 262144)"

    error = error_of(Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, text))

    assert isinstance(error, errors.InvalidArgument)
    assert error.reason == "MESSAGE_TOO_LARGE"


@pytest.mark.parametrize("garbage", [b"\xff\xff", b"\x0a", b""])
def test_details_that_cannot_be_read_are_left_out(garbage: bytes) -> None:
    broken = AnyMessage(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff")
    for details in (garbage, Status(code=5, details=[broken]).SerializeToString()):
        error = error_of(Failure(grpc.StatusCode.NOT_FOUND, "gone", ((DETAILS_KEY, details),)))
        assert (type(error), error.reason) == (errors.NotFound, "NOT_FOUND")


async def test_an_injected_fault_is_named() -> None:
    class Injected:
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.UNAVAILABLE

        def details(self) -> str:
            return "Fault injected"

        def trailing_metadata(self) -> tuple[()]:
            return ()

    error = error_of(Injected())

    assert (type(error), error.reason) == (errors.Transient, "FAULT_INJECTED")
