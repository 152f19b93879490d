"""Waiting in tests: for a condition, with a deadline, never for a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

__all__ = ["eventually"]

_POLL_S: Final = 0.005


async def eventually(
    condition: Callable[[], bool | Awaitable[bool]], timeout_s: float = 30.0
) -> None:
    """Returns when the condition holds. Raises `AssertionError` if it does not within the time."""
    deadline = time.monotonic() + timeout_s
    while True:
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return
        assert time.monotonic() < deadline, f"it did not come about within {timeout_s} s"
        await asyncio.sleep(_POLL_S)
