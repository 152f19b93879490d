"""What is planned, comes in a file or comes back: through the edge, and across a kill."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2 as httpx

from .bank import Bank, Customer, a_customer, brl, eventually

LINES = 40


async def post(customer: Customer, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Posts as a careful app does: the same key until there is an answer."""
    headers = {**customer.headers, "Idempotency-Key": uuid4().hex}

    async def answered() -> dict[str, Any]:
        try:
            answer = await customer.http.post(path, json=body, headers=headers)
        except httpx.TransportError:
            return {}
        assert answer.status_code in (200, 201, 429, 503, 504), answer.text
        answered: dict[str, Any] = answer.json() if answer.status_code < 300 else {}
        return answered

    got: dict[str, Any] = await eventually(answered, path)
    return got


async def get(customer: Customer, path: str) -> dict[str, Any]:
    answer = await customer.http.get(path, headers=customer.headers)
    found: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
    return found


async def test_a_batch_and_what_is_planned_are_made_once_though_transfers_is_killed(
    bank: Bank, http: httpx.AsyncClient
) -> None:
    payer, payee = await asyncio.gather(a_customer(http, 100_000), a_customer(http))
    # The header, good lines, and one that is none.
    csv = (
        "favorecido;valor;descrição\r\n" + f"{payee.account_id};0,10;Salário\r\n" * LINES + "x;y;z"
    )
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    body = {
        "payerAccountId": payer.account_id,
        "payee": {"accountId": payee.account_id},
        "amount": brl("1000"),
    }
    batch = await post(
        payer, "/v1/transfer-batches", {"payerAccountId": payer.account_id, "csv": csv}
    )
    scheduled = await post(payer, "/v1/transfers", {**body, "scheduledFor": soon})
    rule = {"frequency": "DAILY", "startsAt": soon}
    recurring = await post(payer, "/v1/recurring-transfers", {**body, "recurrence": rule})

    bank.kill("transfers")

    async def all_done() -> bool:
        found = await get(payer, f"/v1/transfer-batches/{batch['batch']['batchId']}")
        paid = [line for line in found.get("lines", []) if line["transferStatus"] == "COMPLETED"]
        return len(paid) == LINES and await payee.balance() == LINES * 10 + 2_000

    assert scheduled["transfer"]["status"] == "SCHEDULED"
    await eventually(all_done, "the batch, the scheduled and the recurring transfer")
    recurring_id = recurring["recurringTransfer"]["recurringTransferId"]
    found = await get(payer, f"/v1/recurring-transfers/{recurring_id}")
    assert found["recurringTransfer"]["occurrences"] == 1
    result = await get(payer, f"/v1/transfer-batches/{batch['batch']['batchId']}")
    assert result["lines"][-1]["reason"] == "AMOUNT_INVALID"
    assert (result["batch"]["accepted"], result["batch"]["refused"]) == (LINES, 1)
    lines = await payee.lines()
    assert len({line["transferId"] for line in lines}) == len(lines)


async def test_what_was_paid_is_given_back_and_reverses_the_transfer(
    http: httpx.AsyncClient,
) -> None:
    payer, payee = await asyncio.gather(a_customer(http, 1_000), a_customer(http))
    paid = (await payer.pay({"accountId": payee.account_id}, brl("400"))).json()["transfer"]

    part = await post(payee, f"/v1/transfers/{paid['transferId']}:refund", {"amount": brl("150")})
    rest = await post(payee, f"/v1/transfers/{paid['transferId']}:refund", {})

    assert part["transfer"]["refundOf"] == rest["transfer"]["refundOf"] == paid["transferId"]

    async def reversed_() -> bool:
        return bool((await payer.transfer(paid["transferId"]))["status"] == "REVERSED")

    await eventually(reversed_, "the reversal")
    assert (await payer.transfer(paid["transferId"]))["returned"] == brl("400")
    assert (await payer.balance(), await payee.balance()) == (1_000, 0)


async def test_an_owner_lowers_a_limit_and_is_held_to_it(http: httpx.AsyncClient) -> None:
    payer, payee = await asyncio.gather(a_customer(http, 1_000), a_customer(http))
    body = {"limits": [{"kind": "PER_TRANSFER", "amount": brl("100")}]}

    async def known() -> Any:
        return (await get(payer, "/v1/limits")).get("limits")

    before = {each["kind"]: each for each in await eventually(known, "the membership")}
    answer = await http.put("/v1/limits", json=body, headers=payer.headers)

    assert before["PIX_AT_NIGHT"]["amount"] == brl("100000")
    assert answer.status_code == 200, answer.text
    refused = await payer.pay({"accountId": payee.account_id}, brl("101"))
    assert (refused.status_code, refused.json()["reason"]) == (422, "LIMIT_PER_TRANSFER")
    assert refused.json()["metadata"]["most"] == "100"
    assert (await payer.pay({"accountId": payee.account_id}, brl("100"))).status_code == 201
