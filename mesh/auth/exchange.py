"""Trades what an app shows at the edge for what travels inside (RFC 8693), each token once.

The issuer is asked when an access token is seen for the first time. What it gives is kept, and
traded again ahead of its end, beside the calls: the issuer is missed only by who signs in.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mesh.errors import Error
from meshapi.v1.tokens_pb2 import ExchangeTokenRequest, ExchangeTokenResponse, KeyPlan
from observability import logs

__all__ = ["Exchange", "Traded"]

MAX_KEPT = 16_384

# A token is not shown in its last seconds: it must still be good when it arrives.
MARGIN_S = 5.0

# After the issuer did not answer, the next question ahead of time waits.
PAUSE_S = 2.0

log = logs.get_logger(__name__)


@dataclass(slots=True)
class Traded:
    """An internal token, and whom it names; the plan if that is an API key; when to trade anew, and
    when it is of no use any more, in seconds.
    """

    token: str
    subject: str
    plan: KeyPlan | None
    renew_at: float
    ends_at: float
    renewing: asyncio.Task[None] | None = None


class Exchange:
    """Internal tokens by the access tokens that they stand for. `clock` counts seconds."""

    def __init__(
        self,
        ask: Callable[[ExchangeTokenRequest], Awaitable[ExchangeTokenResponse]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._traded: dict[str, Traded] = {}
        self._asking: dict[str, asyncio.Future[Traded]] = {}

    async def internal(self, token: str) -> str:
        """Gives the internal token of an access token. Raises as `traded` does."""
        return (await self.traded(token)).token

    async def traded(self, token: str) -> Traded:
        """Gives what an access token was traded for.

        Raises `Unauthenticated` when the access token is not good, `Transient` when it was not seen
        before and the issuer does not answer.
        """
        now = self._clock()
        found = self._traded.get(token)
        if found is None or now >= found.ends_at:
            return await self._trade_once(token)
        if now >= found.renew_at and found.renewing is None:
            found.renewing = asyncio.create_task(
                self._renew(token, found), context=contextvars.Context()
            )
        return found

    async def _trade_once(self, token: str) -> Traded:
        """Asks, or waits for the answer to who asks already."""
        asking = self._asking.get(token)
        if asking is not None:
            return await asyncio.shield(asking)
        asking = self._asking[token] = asyncio.ensure_future(self._trade(token))
        asking.add_done_callback(lambda done: self._answered(token, done))
        return await asyncio.shield(asking)

    def _answered(self, token: str, asking: asyncio.Future[Traded]) -> None:
        del self._asking[token]
        if not asking.cancelled():
            asking.exception()  # Whoever waits has it; with nobody left, it is nobody's.

    async def _trade(self, token: str) -> Traded:
        answer = await self._ask(ExchangeTokenRequest(access_token=token))
        now, life_s = self._clock(), float(answer.expires_in)
        traded = Traded(
            answer.internal_token,
            answer.subject,
            answer.plan if answer.HasField("plan") else None,
            now + life_s / 2,
            now + life_s - MARGIN_S,
        )
        self._traded.pop(token, None)
        if len(self._traded) >= MAX_KEPT:
            del self._traded[next(iter(self._traded))]
        self._traded[token] = traded
        return traded

    async def _renew(self, token: str, found: Traded) -> None:
        try:
            await self._trade(token)
        except Error as error:
            log.info("an internal token is not renewed", extra={"reason": error.reason})
            found.renew_at, found.renewing = self._clock() + PAUSE_S, None
