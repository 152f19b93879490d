"""Waiting for a condition, with an end to patience."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

__all__ = ["PATIENCE_S", "until"]

PATIENCE_S = 30.0


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Waits until a condition holds. Raises `TimeoutError` when it does not come to."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return
            await asyncio.sleep(0.01)
