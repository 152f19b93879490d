"""A receiver of webhooks: it answers as it is told, and keeps what it was sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Posted", "Receiver", "receiving"]


@dataclass(frozen=True)
class Posted:
    """A message as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def echo(posted: Posted) -> tuple[int, bytes]:
    """Answers as a receiver that confirms what it is asked to."""
    return 200, posted.body if b'"token"' in posted.body else b""


@dataclass
class Receiver:
    """`answer` gives a status and a body; None answers nothing at all."""

    url: str = ""
    answer: Callable[[Posted], tuple[int, bytes] | None] = echo
    posted: list[Posted] = field(default_factory=list)

    @property
    def events(self) -> list[Posted]:
        return [each for each in self.posted if b'"token"' not in each.body]

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in head[1:] if line)
            }
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            posted = Posted(head[0].split(" ")[1], headers, body)
            self.posted.append(posted)
            answer = self.answer(posted)
            if answer is None:
                await reader.read()
                return
            status, text = answer
            lines = f"HTTP/1.1 {status} X\r\nlocation: /elsewhere\r\ncontent-length: {len(text)}"
            writer.write(f"{lines}\r\n\r\n".encode() + text)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.take, "127.0.0.1", port)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?company=1"
    try:
        yield receiver
    finally:
        server.close()
        await server.wait_closed()
