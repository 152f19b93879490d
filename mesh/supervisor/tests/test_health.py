"""What a process says of itself, and what is made of one that says nothing."""

from __future__ import annotations

import asyncio

import pytest

from mesh.supervisor.health import http_ready


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1", b"nonsense", b"HTTP/1.1 soon\r\n\r\n"])
async def test_one_that_ends_while_it_is_asked_does_not_answer_yet(said: bytes) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(said)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await http_ready(port, "/readyz")() == "it does not answer yet"
