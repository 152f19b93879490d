from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest

from mesh.supervisor.problem import Problem
from services.commands import customer
from services.commands.customer import Customer, eventually, reais
from services.commands.story import ANA

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def at_phone(answer: Callable[[httpx2.Request], httpx2.Response]) -> Customer:
    transport = httpx2.MockTransport(answer)
    return Customer(httpx2.AsyncClient(transport=transport, base_url="http://bank"), ANA)


@pytest.mark.parametrize(
    ("minor_units", "text"),
    [
        (0, "R$ 0,00"),
        (5, "R$ 0,05"),
        (100_00, "R$ 100,00"),
        (1_234_567_89, "R$ 1.234.567,89"),
        (-99_90, "-R$ 99,90"),
    ],
)
def test_amounts_are_written_as_in_brazil(minor_units: int, text: str) -> None:
    assert reais(minor_units) == text


async def test_a_refusal_is_a_problem_with_the_apis_words_and_the_trace() -> None:
    def refuse(request: httpx2.Request) -> httpx2.Response:
        headers = {"traceresponse": f"00-{TRACE_ID}-b7ad6b7169203331-01"}
        return httpx2.Response(422, json={"reason": "INSUFFICIENT_FUNDS"}, headers=headers)

    with pytest.raises(Problem) as raised:
        await at_phone(refuse).get("/v1/me")

    assert raised.value.what == "GET /v1/me answers 422"
    assert "INSUFFICIENT_FUNDS" in raised.value.why
    assert TRACE_ID in raised.value.remedy


async def test_a_payment_carries_its_key_and_its_amount_as_text() -> None:
    asked: list[httpx2.Request] = []

    def accept(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(201, json={}, headers={"idempotent-replayed": "true"})

    answer = await at_phone(accept).pay({"accountId": "b"}, 10_00, "caixas", key="k", wait_s=2)

    (request,) = asked
    assert request.headers["idempotency-key"] == "k"
    assert request.headers["prefer"] == "wait=2"
    assert b'"minorUnits":"1000"' in request.content
    assert answer.replayed


async def test_what_does_not_come_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(customer, "PATIENCE_S", 0.05)

    async def never() -> None:
        return None

    with pytest.raises(Problem, match="a mail does not come"):
        await eventually("a mail", never)
