"""Asks a process on this machine how it is, by the plainest HTTP there is."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable

from mesh.supervisor.ports import LOOPBACK

__all__ = ["PATIENCE_S", "get", "http_ready"]

PATIENCE_S = 1.0
MAX_ANSWER = 65_536


def http_ready(port: int, path: str) -> Callable[[], Awaitable[str | None]]:
    """A question answered well by status 200, and else by what the process says it lacks."""

    async def missing() -> str | None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                status, body = await get(port, path)
        except (OSError, TimeoutError, ValueError):
            return "it does not answer yet"
        if status == 200:
            return None
        with contextlib.suppress(ValueError, AttributeError):
            lacks = json.loads(body).get("missing")
            if lacks:
                return "; ".join(map(str, lacks))
        return f"it answers {status}"

    return missing


async def get(port: int, path: str) -> tuple[int, bytes]:
    """Gets a small page of this machine. Raises OSError or ValueError when there is none."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        host = f"{LOOPBACK}:{port}"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read(MAX_ANSWER)
        while len(answer) < MAX_ANSWER and (more := await reader.read(MAX_ANSWER)):
            answer += more
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(maxsplit=2)
    if len(words) < 2:
        # It has ended while it was asked.
        raise ValueError("there is no answer")
    return int(words[1]), body
