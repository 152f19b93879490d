"""A server of grpc.aio that takes calls in by a shorter way.

The public server waits for the next call of all its methods at once: for every call it takes up a
future of each method and puts it down again, and then looks for the handler. In the benchmark of a
hop that was a fifth of the server's time. Here each method of one request and one response has a
task that waits for its calls, and knows its handler. What that stands on is not public: grpcio is
pinned, and where it looks otherwise than expected, the public server is used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import grpc
import grpc.aio
from grpc._cython import cygrpc
from grpc.aio import _server

__all__ = ["new_server"]

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Options: TypeAlias = Sequence[tuple[str, Any]]

_core: Any = cygrpc
_Core: Any = getattr(cygrpc, "AioServer", object)
_Public: Any = getattr(_server, "Server", object)

_EXPECTED = (
    (_core, ("get_working_loop", "_handle_unary_unary_rpc", "_schedule_rpc_coro")),
    (_Core, ("_make_request_call_future", "_request_registered_call")),
    (_Public, ("add_registered_method_handlers",)),
)


def new_server(options: Options) -> grpc.aio.Server:
    """Makes a server."""
    if all(hasattr(part, name) for part, names in _EXPECTED for name in names):
        direct: grpc.aio.Server = _Direct(options)
        return direct
    return grpc.aio.server(options=options)


class _Direct(_Public):  # type: ignore[misc]
    """The public server, on another core."""

    def __init__(self, options: Options) -> None:
        self._loop = _core.get_working_loop()
        self._server = _Accepting(self._loop, None, (), (), tuple(options), None)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        super().add_registered_method_handlers(service, handlers)
        for name, handler in handlers.items():
            if not handler.request_streaming and not handler.response_streaming:
                self._server.direct[f"/{service}/{name}".encode()] = handler


class _Accepting(_Core):  # type: ignore[misc]
    """The core of a server, which asks for a future of the next call of each method.

    Those in `direct` get one that lasts until the server stops, and fails then as it would.
    """

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.direct: dict[bytes, Handler] = {}
        self._running: set[asyncio.Task[None]] = set()

    def _make_request_call_future(self, path: bytes | None) -> asyncio.Future[Any]:
        handler = self.direct.get(path) if path is not None else None
        if path is None or handler is None:
            future: asyncio.Future[Any] = super()._make_request_call_future(path)
            return future
        return asyncio.create_task(self._take_in(path, handler))

    async def _take_in(self, path: bytes, handler: Handler) -> None:
        loop, name = asyncio.get_running_loop(), path.decode()
        while True:
            call = await self._request_registered_call(path)
            answer = _core._handle_unary_unary_rpc(handler, call, loop)
            # It lets the answer run once it listens for the call's cancellation.
            task = loop.create_task(_core._schedule_rpc_coro(answer, call, loop, name))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
