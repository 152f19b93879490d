"""Bad input gets a clear no: a 4xx problem with a reason and a trace, and no row is written."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx2 as httpx
import pytest

from .bank import Bank, Customer, a_customer, brl


def must_be_problem(answer: httpx.Response) -> dict[str, Any]:
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["reason"]
    assert len(problem["traceId"]) == 32
    assert problem["traceId"] in answer.headers["traceresponse"]
    assert "Traceback" not in answer.text
    return problem


AMOUNTS: list[Any] = [
    brl(0), brl("0"), brl(-1), brl("-1"), brl(2**63), brl(str(2**63)), brl(1.5), brl("1.5"),
    brl(100.0), brl("1e3"), brl(True), brl(None), brl([]), {"currencyCode": "BRL"},
    {"minorUnits": 1}, {"minorUnits": 1, "currencyCode": "reais"}, {}, None, 5, "5",
    {"minorUnits": 1, "currencyCode": "USD"},
]  # fmt: skip


@pytest.mark.parametrize("amount", AMOUNTS, ids=str)
async def test_an_amount_that_is_none_is_refused(
    bank: Bank, http: httpx.AsyncClient, amount: Any
) -> None:
    payer, payee = await people(http)
    before = await bank.rows("transfers", "transfers")

    must_be_problem(await payer.pay({"accountId": payee.account_id}, amount))

    assert await bank.rows("transfers", "transfers") == before


async def people(http: httpx.AsyncClient) -> tuple[Customer, Customer]:
    """Two customers, made once: the tests here write nothing."""
    if not PEOPLE:
        PEOPLE.extend([await a_customer(http, 1_000), await a_customer(http, 1_000)])
    first, second = PEOPLE
    return (
        Customer(http, first.email, first.token, first.account_id),
        Customer(http, second.email, second.token, second.account_id),
    )


PEOPLE: list[Customer] = []


async def test_accounts_that_are_not_the_askers_are_not_found(
    bank: Bank, http: httpx.AsyncClient
) -> None:
    payer, payee = await people(http)
    before = await bank.rows("transfers", "transfers")

    foreign = Customer(http, payer.email, payer.token, payee.account_id)
    unknown = Customer(http, payer.email, payer.token, str(uuid4()))
    told = [
        must_be_problem(await asker.pay({"accountId": payer.account_id}, brl("1")))
        for asker in (foreign, unknown)
    ]
    assert {problem["status"] for problem in told} == {404}
    assert len({(problem["reason"], problem["detail"]) for problem in told}) == 1
    nobody = await payer.pay({"accountId": str(uuid4())}, brl("1"))
    assert must_be_problem(nobody)["status"] == 404
    for path in ("", "/statement"):
        got = await http.get(f"/v1/accounts/{payee.account_id}{path}", headers=payer.headers)
        assert must_be_problem(got)["status"] == 404
    assert await bank.rows("transfers", "transfers") == before


BODIES: dict[str, bytes] = {
    "malformed": b'{"payerAccountId": ',
    "bad UTF-8": b'{"description": "\xff\xfe"}',
    "one megabyte": b'{"description": "' + b"a" * 1_000_000 + b'"}',
    "deep": b'{"amount":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "twice": b'{"description": "a", "description": "b"}',
    "not a number": b'{"amount": {"minorUnits": NaN, "currencyCode": "BRL"}}',
    "huge number": b'{"amount": {"minorUnits": ' + b"9" * 5_000 + b"}}",
    "array": b"[]",
    "byte order mark": b"\xef\xbb\xbf{}",
    "empty": b"",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_a_body_that_is_no_request_is_refused(
    bank: Bank, http: httpx.AsyncClient, body: bytes
) -> None:
    payer, _ = await people(http)
    before = await bank.rows("transfers", "transfers")
    headers = {**payer.headers, "Idempotency-Key": "k", "Content-Type": "application/json"}

    must_be_problem(await http.post("/v1/transfers", content=body, headers=headers))

    assert await bank.rows("transfers", "transfers") == before


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def without_algorithm(token: str) -> str:
    return f"{part({'alg': 'none', 'typ': 'at+jwt'})}.{token.split('.')[1]}."


def tampered(token: str) -> str:
    head, body, signature = token.split(".")
    return f"{head}.{body}.{signature[:-4]}{'AAAA' if signature[-4:] != 'AAAA' else 'BBBB'}"


def other_subject(token: str) -> str:
    head, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return f"{head}.{part({**claims, 'sub': str(uuid4())})}.{signature}"


FORGERIES: dict[str, Callable[[str], str]] = {
    "alg none": without_algorithm,
    "tampered": tampered,
    "other subject": other_subject,
    "no token": lambda token: "",
    "words": lambda token: "let me in",
    "huge": lambda token: "a" * 7_000,
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
async def test_a_forged_token_opens_nothing(
    bank: Bank, http: httpx.AsyncClient, forge: Callable[[str], str]
) -> None:
    payer, payee = await people(http)
    before = await bank.rows("transfers", "transfers")
    forger = Customer(http, payer.email, forge(payer.token), payer.account_id)

    problem = must_be_problem(await forger.pay({"accountId": payee.account_id}, brl("1")))

    assert problem["status"] == 401
    assert await bank.rows("transfers", "transfers") == before


async def test_an_unknown_route_is_a_problem_too(http: httpx.AsyncClient) -> None:
    assert must_be_problem(await http.get("/v1/nothing"))["status"] == 404
    assert must_be_problem(await http.put("/v1/transfers"))["status"] == 405
