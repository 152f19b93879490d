"""A handler of one request and one response, and what is done around it.

In order: span, deadline, load, who calls, decoding, validation, the handler, the error as a
status, metrics and the access log. The helpers serve `streaming` too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError, Message

from mesh.errors import DeadlineExceeded, InvalidArgument
from mesh.rpc.consistency import AFTER_KEY, TOKEN_KEY, write_token
from mesh.rpc.context import Context, Outgoing, current
from mesh.rpc.door import STAFF, Door
from mesh.rpc.load import Load, turned_away
from mesh.rpc.policy import MethodPolicy
from mesh.rpc.record import ServerRecord
from mesh.rpc.status import DETAILS_KEY, code_of, status_of
from mesh.rpc.validation import validate
from observability import tracing

__all__ = ["TOO_LATE_S", "Headers", "decode", "headers_of", "refuse", "time_left", "wrap_unary"]

# Work is not begun that nobody will wait for.
TOO_LATE_S = 0.005

# How much longer than the contract's deadline a client's may be before the server ends the call
# itself: clocks of two machines and the way between them.
SLACK_S = 0.1

# What a gRPC client says that repeats a call by itself (gRFC A6).
ATTEMPTS_KEY = "grpc-previous-rpc-attempts"

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Headers: TypeAlias = tuple[str | None, str | None, str, str]


def wrap_unary(door: Door, load: Load, policy: MethodPolicy, handler: Handler) -> Handler:
    """Wraps a handler of one request and one response."""
    return grpc.unary_unary_rpc_method_handler(_UnaryMethod(door, load, policy, handler).serve)


class _UnaryMethod:
    """One method. It takes and gives bytes: the core would answer what it cannot decode with the
    decoder's own words.
    """

    __slots__ = ("behaviour", "decode", "door", "encode", "load", "policy", "record")

    def __init__(self, door: Door, load: Load, policy: MethodPolicy, handler: Handler) -> None:
        self.door = door
        self.load = load
        self.policy = policy
        self.behaviour: Callable[[Any, Context], Awaitable[Any]] = cast(Any, handler.unary_unary)
        self.decode: Callable[[bytes], Message] = cast(Any, handler.request_deserializer)
        self.encode: Callable[[Any], bytes] = cast(Any, handler.response_serializer)
        self.record = ServerRecord(policy.path)

    async def serve(self, raw: bytes, context: Context) -> bytes:
        """Answers a call."""
        began = time.perf_counter()
        if self.load.congested and self.load.is_full(self.policy.timeout_s):
            # Without a span or a line in the log: a refusal as dear as a call would be no relief.
            self.record.turn_away()
            return await refuse(context, turned_away(self.load.pause_s))
        authorization, traceparent, after, attempts = headers_of(context)
        out = Outgoing(after=after, policy=self.policy)
        span = self.record.begin(traceparent)
        # The core gives every call a task of its own: both are current until it ends.
        current.set(out)
        tracing.enter(span)
        failure: BaseException | None = None
        try:
            return await self._answer(raw, context, out, authorization)
        except BaseException as error:
            failure = error
            if not isinstance(error, Exception):
                raise
        finally:
            if attempts:
                self.record.repeated(span, attempts, out.caller)
            self.record.end(span, began, failure, out.caller)
        self.load.note(failure)
        return await refuse(context, failure)

    async def _answer(
        self, raw: bytes, context: Context, out: Outgoing, authorization: str | None
    ) -> bytes:
        policy = self.policy
        left, needs_timer = time_left(policy, context)
        out.deadline = time.monotonic() + left
        self.load.begin(policy.cost)
        try:
            if self.load.congested:
                await self.load.turn(out.deadline)
            out.caller = await self.door.admit(policy, context, out, authorization)
            request = decode(self.decode, raw)
            validate(request)
            out.request = request
            if policy.access == STAFF:
                await self.door.put_on_record(policy, out.caller, request)
            if out.after and policy.changes_nothing:
                await self.door.gate.pass_through(out.after)
            answering = self.behaviour(request, context)
            answer = await (_within(left, answering) if needs_timer else answering)
            if out.told and not policy.changes_nothing:
                told = (TOKEN_KEY, write_token(out.told))
                context.set_trailing_metadata((*(context.trailing_metadata() or ()), told))
            return self.encode(answer)
        finally:
            self.load.end(policy.cost)


def headers_of(context: Context) -> Headers:
    """Finds `authorization`, `traceparent`, `consistency-after` and the number of attempts before
    this one in a call's metadata.
    """
    authorization = traceparent = None
    after = attempts = ""
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str):
            authorization = value
        elif key == "traceparent" and isinstance(value, str):
            traceparent = value
        elif key == AFTER_KEY and isinstance(value, str):
            after = value
        elif key == ATTEMPTS_KEY and isinstance(value, str):
            attempts = value
    return authorization, traceparent, after, attempts


def time_left(policy: MethodPolicy, context: Context) -> tuple[float, bool]:
    """Tells how many seconds a call has, and whether the server must end it after them.

    It need not when the client's deadline comes first: the core cancels the handler then. Raises
    `DeadlineExceeded` when too little is left to begin.
    """
    limit = policy.timeout_s
    left = context.time_remaining()
    if left is None:
        return limit, True
    if left < TOO_LATE_S:
        raise DeadlineExceeded("DEADLINE_TOO_CLOSE", "There was no time left to begin.")
    return min(left, limit), left > limit + SLACK_S


async def _within(seconds: float, answer: Awaitable[Any]) -> Any:
    try:
        async with asyncio.timeout(seconds) as limit:
            return await answer
    except TimeoutError:
        if limit.expired():
            raise DeadlineExceeded("DEADLINE_PASSED", "The time of the call ran out.") from None
        raise


def decode(decoder: Callable[[bytes], Message], raw: bytes) -> Message:
    """Decodes a request. Raises `InvalidArgument`, which says nothing of the decoder's troubles."""
    try:
        return decoder(raw)
    except (DecodeError, ValueError):
        raise InvalidArgument("UNDECODABLE_REQUEST", "The request cannot be decoded.") from None


async def refuse(context: Context, error: BaseException) -> NoReturn:
    """Ends a call with the status of an error, by raising what the core expects."""
    status = status_of(error)
    details = ((DETAILS_KEY, status.SerializeToString()),)
    await context.abort(code_of(error), status.message, details)
