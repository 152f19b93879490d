"""What a client may send before it is answered, over raw sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from mesh import http
from mesh.http import MAX_HEAD, MAX_HEADERS, MAX_URL, HttpServer

GOOD = b"GET / HTTP/1.1\r\nHost: edge\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Reads all, and answers with how much it was."""
    size, message = 0, {"more_body": True}
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message.get("body", b""))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


@contextlib.asynccontextmanager
async def serving(is_proxy: Callable[[str], bool] = lambda address: False) -> AsyncIterator[int]:
    server = HttpServer(app, "127.0.0.1", 0, grace_s=1, is_proxy=is_proxy)
    task = asyncio.create_task(server.serve())
    try:
        yield server.port
    finally:
        await server.stop()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def send(port: int, data: bytes) -> bytes:
    """Sends, and gives what comes until the server ends the connection or has answered with 200."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        with contextlib.suppress(ConnectionError):
            writer.write(data)
            await writer.drain()
        async with asyncio.timeout(10):
            while not answer.startswith(b"HTTP/1.1 200") and (part := await reader.read(65_536)):
                answer += part
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return answer


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (GOOD, 200),
        (b"GET /" + b"a" * MAX_URL + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (MAX_HEADERS + 1) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * MAX_HEAD + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * (MAX_HEAD + 1), 431),
        (b"let me in\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
    ids=["good", "URL", "headers", "header", "endless header", "words", "smuggling", "TLS"],
)
async def test_a_head_has_bounds(data: bytes, status: int) -> None:
    async with serving() as port:
        answer = await send(port, data)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        if status != 200:
            head, _, body = answer.partition(b"\r\n\r\n")
            assert b"application/problem+json" in head
            assert json.loads(body)["status"] == status
        assert (await send(port, GOOD)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "data",
    [b"", b"GET / HT", b"GET / HTTP/1.1\r\nA:", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n12"],
    ids=["nothing", "a line", "a header", "a body"],
)
async def test_a_slow_client_is_not_waited_for(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "HEAD_S", 0.01)
    monkeypatch.setattr(http, "BODY_S", 0.01)
    async with serving() as port:
        assert (await send(port, data)).startswith(b"HTTP/1.1 408 Request Timeout")


async def test_one_address_does_not_take_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_CONNECTIONS", 8)
    async with serving() as port, contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
        assert (await send(port, GOOD)).startswith(b"HTTP/1.1 503")
    async with serving(lambda address: True) as port, contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
        assert (await send(port, GOOD)).startswith(b"HTTP/1.1 200")
