"""Counts at the edge what is asked with API keys, and tells the issuer, who keeps the quotas.

What is left is counted down here, so that no call waits for the issuer; uses are told a second
later. So a quota is exact with one process of the edge; with several, each may let through what is
asked in that second. A process that is killed forgets that second's uses.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mesh.errors import Error, Overloaded
from meshapi.v1.tokens_pb2 import Allowance, CountUsesRequest, CountUsesResponse
from observability import logs

__all__ = ["Usage"]

TELL_AFTER_S = 1.0
MAX_KEYS = 10_000

log = logs.get_logger(__name__)


@dataclass(slots=True)
class _Used:
    """The uses of a key that were not told yet, and what is left: None for no quota.

    `asked_at` is when the issuer was asked last whether there is more.
    """

    left: int | None
    resets_at: float
    untold: int = 0
    asked_at: float = 0.0
    telling: asyncio.Task[None] | None = None


class Usage:
    """The uses of keys by their ids. `clock` counts seconds."""

    def __init__(
        self,
        tell: Callable[[CountUsesRequest], Awaitable[CountUsesResponse]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._clock = clock
        self._used: dict[str, _Used] = {}

    async def use(self, key_id: str, allowance: Allowance) -> None:
        """Uses a key once. `allowance` is what was left when the key was traded.

        Raises `Overloaded`, reason `QUOTA_EXCEEDED`, when nothing is left.
        """
        used = self._used.get(key_id)
        if used is None:
            used = self._begin(key_id, allowance)
        if used.left is not None and used.left <= 0:
            if self._clock() >= min(used.asked_at + TELL_AFTER_S, used.resets_at):
                await self._report(key_id, used)
            if used.left is not None and used.left <= 0:
                wait_s = max(1.0, used.resets_at - self._clock())
                raise Overloaded("QUOTA_EXCEEDED", "The quota of this API key is used up.", wait_s)
        used.untold += 1
        if used.left is not None:
            used.left -= 1
        if used.telling is None:
            later = self._report_later(key_id, used)
            used.telling = asyncio.create_task(later, context=contextvars.Context())

    def _begin(self, key_id: str, allowance: Allowance) -> _Used:
        if len(self._used) >= MAX_KEYS:
            idle = next((key for key, used in self._used.items() if not used.untold), None)
            if idle is None:
                raise Overloaded("TOO_MANY_KEYS", "Too many API keys are in use; ask again.")
            del self._used[idle]
        used = self._used[key_id] = _Used(None, 0.0)
        self._know(used, allowance)
        return used

    def _know(self, used: _Used, allowance: Allowance) -> None:
        has_quota = allowance.HasField("remaining")
        used.left = allowance.remaining - used.untold if has_quota else None
        used.resets_at = self._clock() + allowance.resets_in

    async def _report_later(self, key_id: str, used: _Used) -> None:
        await asyncio.sleep(TELL_AFTER_S)
        used.telling = None
        await self._report(key_id, used)

    async def _report(self, key_id: str, used: _Used) -> None:
        used.asked_at = self._clock()
        uses, used.untold = used.untold, 0
        try:
            answer = await self._tell(CountUsesRequest(key_id=key_id, uses=uses))
        except Error as error:
            used.untold += uses
            log.info("the uses of a key are not told", extra={"reason": error.reason})
            return
        self._know(used, answer.allowance)
