"""Serves the edge's HTTP application, inside the process's own event loop.

A client costs no more than its share: what it may send before it is answered has bounds in bytes
and in seconds, and connections have one in number, of all and of one address.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from observability import logs

__all__ = ["HttpServer"]

_BACKLOG = 1_024

# The request line and the headers together, in bytes, and how many headers.
MAX_HEAD = 16 * 1024
MAX_URL = 8 * 1024
MAX_HEADERS = 100

# Within how many seconds the head of a request must have come, and then its body.
HEAD_S = 10.0
BODY_S = 20.0

# Connections at once, if the process may have so many files open; one address may have a fourth.
MAX_CONNECTIONS = 8_000

_REFUSALS = {
    400: b"Bad Request",
    408: b"Request Timeout",
    414: b"URI Too Long",
    431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}

log = logs.get_logger(__name__)


class HttpServer:
    """An ASGI application on a port. Raises `OSError` when the port is taken.

    Connections from `proxies` count for all whom they speak for, and have no bound of their own.
    """

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        host: str,
        port: int,
        *,
        grace_s: float,
        is_proxy: Callable[[str], bool] = lambda address: False,
    ) -> None:
        self._socket = socket.create_server((host, port), backlog=_BACKLOG)
        self.port: int = self._socket.getsockname()[1]
        self._ended = asyncio.Event()
        config = uvicorn.Config(
            app,
            http=_bounded(is_proxy),
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

    async def on_tick(self, counter: int) -> bool:
        """Ends, about once a second, the connections that keep everybody waiting."""
        if counter % 10 == 0:
            now = time.monotonic()
            for connection in list(self.server_state.connections):
                cast(_Connection, connection).end_if_late(now)
        return await super().on_tick(counter)


class _Refused(Exception):
    """What a client sends is not read any further."""


class _Connection(HttpToolsProtocol):
    """A connection that is read within bounds.

    `until` is the second, on the monotonic clock, at which what is being read must have come; None
    while nothing is.
    """

    most: int
    of_address: Counter[str]
    is_proxy: Callable[[str], bool]

    until: float | None = None
    in_head = True
    head = 0
    refusal = 400

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self.of_address[self.address] += 1
        self.until = time.monotonic() + HEAD_S
        is_many = self.of_address[self.address] > self.most // 4 and not self.is_proxy(self.address)
        if is_many or len(self.connections) > self.most:
            self.refuse(503)

    def connection_lost(self, exc: Exception | None) -> None:
        self.of_address[self.address] -= 1
        if not self.of_address[self.address]:
            del self.of_address[self.address]
        self.until = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        # A header that has no end is not shown to `on_header`.
        if self.in_head and not self.transport.is_closing():
            self.head += len(data)
            if self.head > MAX_HEAD:
                self.refuse(431)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.in_head, self.head = True, 0
        self.until = time.monotonic() + HEAD_S

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_URL:
            self.refusal = 414
            raise _Refused

    def on_headers_complete(self) -> None:
        size = sum(len(name) + len(value) + 4 for name, value in self.headers) + len(self.url)
        if len(self.headers) > MAX_HEADERS or size > MAX_HEAD:
            self.refusal = 431
            raise _Refused
        self.in_head = False
        self.until = time.monotonic() + BODY_S
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self.until = None
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answers what the parser has given up, or was told to."""
        self.refuse(self.refusal)

    def end_if_late(self, now: float) -> None:
        """Ends the connection if what it should have sent by `now` has not come."""
        if self.until is not None and self.until < now:
            self.refuse(408)

    def refuse(self, status: int) -> None:
        """Ends the connection; says why, unless an answer is on its way."""
        self.until = None
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            reason = _REFUSALS[status]
            name = reason.upper().replace(b" ", b"_")
            kind = b"urn:problem:" + name.lower().replace(b"_", b"-")
            body = b'{"type":"%s","title":"%s","status":%d,"reason":"%s"}' % (
                kind,
                reason,
                status,
                name,
            )
            self.transport.write(
                b"HTTP/1.1 %d %s\r\ncontent-type: application/problem+json\r\n"
                b"content-length: %d\r\nconnection: close\r\n\r\n%s"
                % (status, reason, len(body), body)
            )
        log.info("a connection is refused", extra={"status": status})
        self.transport.close()


def _bounded(is_proxy: Callable[[str], bool]) -> type[asyncio.Protocol]:
    """Makes the protocol of one server, whose connections are counted together."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    bounds = {
        "most": min(MAX_CONNECTIONS, files // 2),
        "of_address": Counter[str](),
        "is_proxy": staticmethod(is_proxy),
    }
    return type("Connection", (_Connection,), bounds)
