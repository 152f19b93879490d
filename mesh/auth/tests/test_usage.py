from __future__ import annotations

import asyncio

import pytest

from mesh.auth import usage as module
from mesh.auth.usage import Usage
from mesh.errors import Overloaded, Transient
from mesh.testing.waiting import eventually
from meshapi.v1.tokens_pb2 import Allowance, CountUsesRequest, CountUsesResponse


class Issuer:
    """Counts uses against a quota; or does not answer."""

    def __init__(self, quota: int | None = None) -> None:
        self.quota = quota
        self.used = 0
        self.asked = 0
        self.is_away = False
        self.now = 1_000.0
        self.usage = Usage(self.count, clock=lambda: self.now)

    def left(self) -> Allowance:
        remaining = None if self.quota is None else max(0, self.quota - self.used)
        return Allowance(remaining=remaining, resets_in=600)

    async def count(self, request: CountUsesRequest) -> CountUsesResponse:
        self.asked += 1
        if self.is_away:
            raise Transient("AWAY", "no")
        self.used += request.uses
        return CountUsesResponse(allowance=self.left())

    async def use(self, times: int) -> int:
        """Uses the key; tells how often it was let."""
        passed = 0
        for _ in range(times):
            try:
                await self.usage.use("key", self.left())
                passed += 1
            except Overloaded as refused:
                assert refused.reason == "QUOTA_EXCEEDED"  # noqa: PT017
        return passed


async def test_a_quota_is_exact_and_who_is_over_it_hears_when_there_is_more() -> None:
    issuer = Issuer(quota=5)

    assert await issuer.use(20) == 5

    with pytest.raises(Overloaded) as refused:
        await issuer.usage.use("key", issuer.left())
    assert refused.value.retry_after_s == 600
    assert issuer.used == 5


async def test_the_issuer_is_not_asked_again_by_every_call_that_is_refused() -> None:
    issuer = Issuer(quota=1)
    await issuer.use(50)
    asked = issuer.asked
    await issuer.use(50)
    assert issuer.asked == asked

    issuer.now += 600
    issuer.used = 0
    assert await issuer.use(3) == 1


async def test_uses_are_told_a_little_later_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TELL_AFTER_S", 0.01)
    issuer = Issuer()

    assert await issuer.use(30) == 30

    await eventually(lambda: issuer.used == 30)
    assert issuer.asked == 1


async def test_what_could_not_be_told_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TELL_AFTER_S", 0.01)
    issuer = Issuer(quota=100)
    issuer.is_away = True
    await issuer.use(3)
    await eventually(lambda: issuer.asked == 1)
    issuer.is_away = False
    await asyncio.sleep(0)

    await issuer.use(1)

    await eventually(lambda: issuer.used == 4)


async def test_the_table_of_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KEYS", 1)
    monkeypatch.setattr(module, "TELL_AFTER_S", 0.01)
    issuer = Issuer()
    await issuer.usage.use("a", issuer.left())
    with pytest.raises(Overloaded):
        await issuer.usage.use("b", issuer.left())
    await eventually(lambda: issuer.used == 1)
    await issuer.usage.use("b", issuer.left())
    await eventually(lambda: issuer.used == 2)
