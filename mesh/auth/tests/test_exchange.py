from __future__ import annotations

import asyncio
from functools import partial

import pytest

from mesh.auth.exchange import MARGIN_S, PAUSE_S, Exchange
from mesh.errors import Transient, Unauthenticated
from mesh.testing.waiting import eventually
from meshapi.v1.tokens_pb2 import ExchangeTokenRequest, ExchangeTokenResponse


class Issuer:
    """Trades what it is asked to, numbering what it gives; or does not answer."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None
        self.now = 1_000.0
        self.exchange = Exchange(self.trade, clock=lambda: self.now)

    def was_asked(self, times: int) -> bool:
        return self.asked == times

    async def trade(self, request: ExchangeTokenRequest) -> ExchangeTokenResponse:
        self.asked += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        name = f"{request.access_token}-{self.asked}"
        return ExchangeTokenResponse(internal_token=name, expires_in=300)


async def test_a_token_is_traded_once_however_many_ask() -> None:
    issuer = Issuer()

    traded = await asyncio.gather(*(issuer.exchange.internal("a") for _ in range(20)))
    again = await issuer.exchange.internal("a")

    assert {*traded, again} == {"a-1"}
    assert await issuer.exchange.internal("b") == "b-2"


async def test_it_is_traded_anew_ahead_of_its_end_and_nobody_waits() -> None:
    issuer = Issuer()
    await issuer.exchange.internal("a")
    issuer.now += 151

    assert await issuer.exchange.internal("a") == "a-1"

    await eventually(lambda: issuer.asked == 2)
    issuer.now += 145
    assert await issuer.exchange.internal("a") == "a-2"


async def test_while_the_issuer_is_away_what_is_known_serves_on() -> None:
    issuer = Issuer()
    await issuer.exchange.internal("a")
    issuer.error = Transient("UNAVAILABLE", "Away.")

    for seconds in (151.0, PAUSE_S + 1):
        issuer.now += seconds
        asked = issuer.asked
        assert await issuer.exchange.internal("a") == "a-1"
        await eventually(partial(issuer.was_asked, asked + 1))
        await asyncio.sleep(0)
    with pytest.raises(Transient):
        await issuer.exchange.internal("b")
    issuer.now += 300 - MARGIN_S
    with pytest.raises(Transient):
        await issuer.exchange.internal("a")


async def test_what_the_issuer_refuses_is_refused_to_all_who_ask() -> None:
    issuer = Issuer()
    issuer.error = Unauthenticated("TOKEN_INVALID", "No.")

    answers = await asyncio.gather(
        *(issuer.exchange.internal("a") for _ in range(3)), return_exceptions=True
    )

    assert [type(answer) for answer in answers] == [Unauthenticated] * 3
    assert issuer.asked == 1


async def test_who_gives_up_waiting_takes_nobody_along() -> None:
    issuer = Issuer()
    first = asyncio.create_task(issuer.exchange.internal("a"))
    second = asyncio.create_task(issuer.exchange.internal("a"))
    await asyncio.sleep(0)

    first.cancel()

    assert await second == "a-1"
    with pytest.raises(asyncio.CancelledError):
        await first
