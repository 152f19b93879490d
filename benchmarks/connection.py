"""A load generator's HTTP/1.1 client: one kept connection, and of the head only what it needs.

A full client costs more than the bank it measures.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Connection"]

HOST_HEADER = b"Host: bank\r\n"


class Connection:
    """A connection to one server. Not for use by two callers at once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, base_url: str) -> Connection:
        """Connects to `http://host:port`."""
        parts = urlsplit(base_url)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port))

    async def ask(
        self, verb: str, path: str, headers: Mapping[str, str], body: bytes = b""
    ) -> tuple[int, Any]:
        """Sends a request; gives the status and the decoded JSON body."""
        lines = [f"{verb} {path} HTTP/1.1\r\n".encode(), HOST_HEADER]
        lines += [f"{name}: {value}\r\n".encode() for name, value in headers.items()]
        if body:
            lines.append(b"Content-Type: application/json\r\n")
        lines.append(f"Content-Length: {len(body)}\r\n\r\n".encode())
        self.writer.write(b"".join(lines) + body)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n", 1)[0])
        content = await self.reader.readexactly(length)
        return int(head[9:12]), json.loads(content)

    async def close(self) -> None:
        """Closes the connection."""
        self.writer.close()
        await self.writer.wait_closed()
