"""Handlers of streams, wrapped as those of single messages are: span, load, who calls, validation,
errors as a status. A stream lasts as long as its client lets it, whatever the contract's deadline.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, cast

import grpc

from mesh.rpc.context import Context, Outgoing, current
from mesh.rpc.door import STAFF, Door
from mesh.rpc.load import Load
from mesh.rpc.policy import MethodPolicy
from mesh.rpc.record import ServerRecord
from mesh.rpc.unary import decode, headers_of, refuse
from mesh.rpc.validation import validate
from observability import tracing

__all__ = ["wrap_streaming"]

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


def wrap_streaming(door: Door, load: Load, policy: MethodPolicy, handler: Handler) -> Handler:
    """Wraps a handler with a stream on either side. Handlers that answer with a stream yield it."""
    method = _StreamingMethod(door, load, policy, handler)
    if not handler.response_streaming:
        return grpc.stream_unary_rpc_method_handler(
            method.answer, response_serializer=handler.response_serializer
        )
    wrap = (
        grpc.stream_stream_rpc_method_handler
        if handler.request_streaming
        else grpc.unary_stream_rpc_method_handler
    )
    return wrap(method.stream, response_serializer=handler.response_serializer)


class _StreamingMethod:
    def __init__(self, door: Door, load: Load, policy: MethodPolicy, handler: Handler) -> None:
        self.door = door
        self.load = load
        self.policy = policy
        self.decoder: Callable[[bytes], Any] = cast(Any, handler.request_deserializer)
        self.behaviour: Callable[[Any, Context], Any] = cast(
            Any, handler.stream_unary or handler.stream_stream or handler.unary_stream
        )
        self.record = ServerRecord(policy.path)

    async def answer(self, raw: AsyncIterator[bytes], context: Context) -> Any:
        """Answers a stream of requests with one response."""
        async with self._call(context):
            return await self.behaviour(self._requests(raw), context)

    async def stream(self, raw: Any, context: Context) -> AsyncIterator[Any]:
        """Answers a request, or a stream of them, with a stream of responses."""
        async with self._call(context):
            request = await self._request(raw) if isinstance(raw, bytes) else self._requests(raw)
            async for response in self.behaviour(request, context):
                yield response

    async def _request(self, raw: bytes) -> Any:
        request = decode(self.decoder, raw)
        validate(request)
        out = current.get()
        assert out is not None, "a stream is a call"
        out.request = request
        if self.policy.access == STAFF:
            assert out.caller is not None, "who has not come in asks for nothing"
            await self.door.put_on_record(self.policy, out.caller, request)
        return request

    async def _requests(self, raw: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for message in raw:
            yield await self._request(message)

    @asynccontextmanager
    async def _call(self, context: Context) -> AsyncIterator[None]:
        began = time.perf_counter()
        authorization, traceparent, after, _ = headers_of(context)
        out = Outgoing(after=after, policy=self.policy)
        current.set(out)
        span = self.record.begin(traceparent)
        failure: BaseException | None = None
        with tracing.use(span):
            try:
                self.load.begin(self.policy.cost)
                try:
                    out.caller = await self.door.admit(self.policy, context, out, authorization)
                    yield
                finally:
                    self.load.end(self.policy.cost)
            except BaseException as error:
                failure = error
                if not isinstance(error, Exception):
                    raise
            finally:
                self.record.end(span, began, failure, out.caller)
        if failure is not None:
            await refuse(context, failure)
