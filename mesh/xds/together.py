"""Two sides of a stream, which end together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["until_one_ends"]


async def until_one_ends(*works: Coroutine[Any, Any, None]) -> None:
    """Runs coroutines at once until one of them ends, and cancels the others.

    Returns when all have ended. Raises what one of them raised.
    """
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):
            raise end
