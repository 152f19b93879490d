"""Who is signed in, in every service at once."""

from __future__ import annotations

import asyncio
import base64
import json
import time

import httpx2 as httpx

from .bank import Bank, a_customer, brl, eventually

# One read of each service that answers users.
READS = (
    "/v1/me",
    "/v1/accounts",
    "/v1/transfers",
    "/v1/suppliers",
    "/v1/tickets",
    "/v1/notifications",
)
FELT_S = 5.0


async def statuses(http: httpx.AsyncClient, paths: list[str], token: str) -> list[int]:
    headers = {"Authorization": f"Bearer {token}"}
    answers = await asyncio.gather(*(http.get(path, headers=headers) for path in paths))
    return [answer.status_code for answer in answers]


async def test_signing_out_everywhere_is_felt_in_every_service_and_by_every_session(
    http: httpx.AsyncClient,
) -> None:
    customer = await a_customer(http)
    first = customer.token
    await customer.sign_in()
    paths = [*READS, f"/v1/accounts/{customer.account_id}/statement"]
    # Every service has seen both tokens, and knows them.
    for token in (first, customer.token):
        assert set(await statuses(http, paths, token)) == {200}

    began = time.monotonic()
    answer = await http.delete("/v1/sessions", headers=customer.headers)
    assert answer.status_code == 200

    async def refused() -> bool:
        both = [await statuses(http, paths, token) for token in (first, customer.token)]
        return {status for each in both for status in each} == {401}

    await eventually(refused, "every service to refuse", FELT_S)
    assert time.monotonic() - began < FELT_S
    assert (await customer.sign_in()).status_code == 201
    assert set(await statuses(http, paths, customer.token)) == {200}


async def test_who_is_signed_in_pays_on_while_users_is_away(
    bank: Bank, http: httpx.AsyncClient
) -> None:
    payer, payee = await asyncio.gather(a_customer(http, 1_000), a_customer(http))
    [pid] = bank.pids("users")
    bank.kill("users")
    try:
        for _ in range(5):
            answer = await payer.pay({"accountId": payee.account_id}, brl("10"))
            assert answer.json()["transfer"]["status"] == "COMPLETED", answer.text
    finally:

        async def back() -> bool:
            return bank.pids("users") not in ([], [pid])

        await eventually(back, "users to be back")

    async def sees() -> bool:
        return (await payer.sign_in()).status_code == 201

    await eventually(sees, "users to answer")


async def test_what_an_app_holds_is_no_token_of_the_inside(http: httpx.AsyncClient) -> None:
    customer = await a_customer(http)
    header, claims, _ = customer.token.split(".")
    read = [json.loads(base64.urlsafe_b64decode(part + "==")) for part in (header, claims)]

    assert (read[0]["typ"], read[1]["aud"]) == ("at+jwt", "bank")
    assert "cnf" not in read[1]
