"""Asks once, on a channel of grpc.aio.

The public API makes a task, a map of metadata and an entry in the channel's books for every call,
a fifth of the time that a client takes. What is below it does without. It is not public: grpcio is
pinned, and where that layer looks otherwise than expected, or the channel has interceptors, calls
go through the public API.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable
from typing import Any, Protocol, TypeAlias

import grpc
import grpc.aio

from mesh.rpc.status import error_of

__all__ = ["Ask", "Metadata", "Trailer", "ask_on"]

Metadata: TypeAlias = tuple[tuple[str, str], ...]
Trailer: TypeAlias = Iterable[tuple[str, Any]]

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Ask(Protocol):
    """Asks; gives the response, and what was sent after it if `wants_trailer`.

    Raises what the peer raised; `grpc.aio.UsageError` when the channel is closed.
    """

    def __call__(
        self, request: Any, timeout_s: float, metadata: Metadata, wants_trailer: bool, /
    ) -> Awaitable[tuple[Any, Trailer]]: ...


def ask_on(channel: grpc.aio.Channel, path: str, *coding: Any, **options: Any) -> Ask:
    """Binds a method of one request and one response to a channel."""
    method: Any = channel.unary_unary(path, *coding, **options)
    try:
        if not method._interceptors:
            return _Direct(method).ask
    except AttributeError:
        pass
    return _Public(method).ask


class _Public:
    def __init__(self, method: Any) -> None:
        self._method = method

    async def ask(
        self, request: Any, timeout_s: float, metadata: Metadata, wants_trailer: bool
    ) -> tuple[Any, Trailer]:
        call = self._method(request, timeout=timeout_s, metadata=metadata)
        try:
            response = await call
        except grpc.aio.AioRpcError as failure:
            raise error_of(failure) from None
        return response, await call.trailing_metadata() if wants_trailer else ()


class _Direct:
    """Raises `AttributeError` when the layer below does not look as expected."""

    def __init__(self, method: Any) -> None:
        # The channel would close, were nobody to hold it.
        self._owner = method._python_channel
        self._begin = method._channel.call
        self._path = method._method
        self._handle = method._registered_call_handle
        self._encode = method._request_serializer
        self._decode = method._response_deserializer

    async def ask(
        self, request: Any, timeout_s: float, metadata: Metadata, wants_trailer: bool
    ) -> tuple[Any, Trailer]:
        call = self._begin(self._path, time.time() + timeout_s, None, None, self._handle)
        try:
            raw = await call.unary_unary(self._encode(request), metadata)
        except asyncio.CancelledError:
            call.cancel("The caller has gone.")
            raise
        if not call.is_ok():
            raise error_of(_Failure(await call.status()))
        trailer = (await call.status()).trailing_metadata() if wants_trailer else ()
        return self._decode(raw), trailer


class _Failure:
    """The end of a call, as the layer below tells it."""

    def __init__(self, status: Any) -> None:
        self._status = status

    def code(self) -> grpc.StatusCode:
        return _CODES.get(self._status.code(), grpc.StatusCode.UNKNOWN)

    def details(self) -> str | None:
        details: str | None = self._status.details()
        return details

    def trailing_metadata(self) -> Any:
        return self._status.trailing_metadata()
