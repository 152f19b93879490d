"""Serves the edge's HTTP application, inside the process's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator

import uvicorn

__all__ = ["HttpServer"]

_BACKLOG = 1_024


class HttpServer:
    """An ASGI application on a port. Raises `OSError` when the port is taken."""

    def __init__(
        self, app: Callable[..., Awaitable[None]], host: str, port: int, *, grace_s: float
    ) -> None:
        self._socket = socket.create_server((host, port), backlog=_BACKLOG)
        self.port: int = self._socket.getsockname()[1]
        self._ended = asyncio.Event()
        config = uvicorn.Config(
            app,
            http="httptools",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            timeout_graceful_shutdown=max(1, round(grace_s)),
            timeout_keep_alive=30,
        )
        self._server = _Server(config)

    async def serve(self) -> None:
        """Serves until it is stopped."""
        try:
            await self._server.serve([self._socket])
        finally:
            self._socket.close()
            self._ended.set()
        if not self._server.should_exit:
            raise RuntimeError("the HTTP server has ended by itself")
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Takes no more requests, and waits until those that run are answered."""
        self._server.should_exit = True
        await self._ended.wait()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the signals to the process."""
        yield
