"""Errors to `google.rpc.Status` and back: the error that a server raises is the error that its
client catches.

Every error travels as a status with an `ErrorInfo` (AIP-193), whose reason names it. Violations
travel as `BadRequest`, the pause before the next try as `RetryInfo`. A bug leaves as INTERNAL,
without a word of what happened; its caller catches `PeerFailed`.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from mesh.errors import (
    AlreadyExists,
    Behind,
    DeadlineExceeded,
    Error,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Overloaded,
    PermissionDenied,
    Refused,
    StepUpRequired,
    Transient,
    Unauthenticated,
    Violation,
)
from meshapi.v1 import tokens_pb2

__all__ = ["DETAILS_KEY", "DOMAIN", "PeerFailed", "code_of", "error_of", "status_of"]

DETAILS_KEY = "grpc-status-details-bin"

# What a client's core says of a call that it aborts because it was told to inject a fault.
_INJECTED = "Fault injected"
_FAULT = "FAULT_INJECTED"
DOMAIN = "bank"

M = TypeVar("M", bound=Message)


class PeerFailed(Transient):
    """The peer has a bug, or speaks another contract. What was asked for may have happened."""


# The most special class first. `Refused` itself has no code of its own: it arrives as
# `FailedPrecondition`, which is a `Refused`.
_CODES: tuple[tuple[type[Error], grpc.StatusCode], ...] = (
    (InvalidArgument, grpc.StatusCode.INVALID_ARGUMENT),
    (Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (PermissionDenied, grpc.StatusCode.PERMISSION_DENIED),
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (AlreadyExists, grpc.StatusCode.ALREADY_EXISTS),
    (FailedPrecondition, grpc.StatusCode.FAILED_PRECONDITION),
    (Refused, grpc.StatusCode.FAILED_PRECONDITION),
    (Overloaded, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Behind, grpc.StatusCode.ABORTED),
    (DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
    (PeerFailed, grpc.StatusCode.INTERNAL),
    (Transient, grpc.StatusCode.UNAVAILABLE),
)

_PLAIN: dict[grpc.StatusCode, type[Error]] = {
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.OUT_OF_RANGE: FailedPrecondition,
    grpc.StatusCode.UNAVAILABLE: Transient,
    grpc.StatusCode.ABORTED: Transient,
    grpc.StatusCode.CANCELLED: Transient,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
}

# The core's own words, with RESOURCE_EXHAUSTED, for a message that no repetition makes shorter.
_TOO_LARGE = "message larger than max"


class Failure(Protocol):
    """A call that ended badly: what `grpc.aio.AioRpcError` and `grpc.Call` tell of it."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...
    def trailing_metadata(self) -> Any: ...


def code_of(error: BaseException) -> grpc.StatusCode:
    """Tells the code that an error travels by: INTERNAL for whatever is not a mesh error."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return grpc.StatusCode.INTERNAL


def status_of(error: BaseException) -> Status:
    """Makes the status of an error. A bug tells nothing but that it is one."""
    code = code_of(error)
    if not isinstance(error, Error) or code is grpc.StatusCode.INTERNAL:
        status = Status(code=code.value[0], message="The service failed.")
        status.details.add().Pack(ErrorInfo(reason="INTERNAL", domain=DOMAIN))
        return status
    status = Status(code=code.value[0], message=error.message)
    info = ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)
    status.details.add().Pack(info)
    if isinstance(error, InvalidArgument) and error.violations:
        bad = BadRequest()
        for violation in error.violations:
            bad.field_violations.add(field=violation.field, description=violation.description)
        status.details.add().Pack(bad)
    if isinstance(error, StepUpRequired):
        wanted = tokens_pb2.StepUpRequired()
        wanted.max_age.FromNanoseconds(round(error.max_age_s * 1e9))
        status.details.add().Pack(wanted)
    if isinstance(error, Overloaded | Behind):
        retry = RetryInfo()
        retry.retry_delay.FromNanoseconds(round(error.retry_after_s * 1e9))
        status.details.add().Pack(retry)
    return status


def error_of(failure: Failure) -> Error:
    """Makes the error that the peer raised, of any server that speaks gRPC.

    A status without an `ErrorInfo` takes the name of its code as its reason; an injected fault is
    `FAULT_INJECTED`.
    """
    status = _details_of(failure)
    info = _detail(status, ErrorInfo)
    error = _error_of(failure, status, info)
    return error.telling(**info.metadata) if info else error


def _error_of(failure: Failure, status: Status, info: ErrorInfo | None) -> Error:
    code = failure.code()
    text = failure.details() or ""
    reason = info.reason if info else _FAULT if text == _INJECTED else code.name
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        bad = _detail(status, BadRequest) or BadRequest()
        return InvalidArgument(
            reason, text, *(Violation(v.field, v.description) for v in bad.field_violations)
        )
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        if info is None and _TOO_LARGE in text:
            return InvalidArgument("MESSAGE_TOO_LARGE", "The message is larger than allowed.")
        return Overloaded(reason, text, _pause_of(status) or 1.0)
    if code is grpc.StatusCode.ABORTED and (pause_s := _pause_of(status)):
        return Behind(reason, text, pause_s)
    wanted = _detail(status, tokens_pb2.StepUpRequired)
    if wanted is not None and code is grpc.StatusCode.PERMISSION_DENIED:
        return StepUpRequired(wanted.max_age.ToNanoseconds() / 1e9, reason, text)
    kind = _PLAIN.get(code)
    if kind is None:
        return PeerFailed(reason, f"The peer failed with {code.name}.")
    error = kind(reason, text)
    if info is None and kind is Transient:
        # The core tells of addresses and handshakes, which is for operators: the span has it.
        error = Transient(reason, "The service cannot be reached.")
        error.add_note(text)
    return error


def _pause_of(status: Status) -> float:
    retry = _detail(status, RetryInfo)
    return retry.retry_delay.ToNanoseconds() / 1e9 if retry else 0.0


def _details_of(failure: Failure) -> Status:
    for key, value in failure.trailing_metadata() or ():
        if key == DETAILS_KEY:
            try:
                return Status.FromString(value)
            except DecodeError:
                break
    return Status()


def _detail(status: Status, kind: type[M]) -> M | None:
    for packed in status.details:
        detail = kind()
        if packed.Is(kind.DESCRIPTOR):
            try:
                packed.Unpack(detail)
            except DecodeError:
                return None
            return detail
    return None
