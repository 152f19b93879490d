"""Pix as a company and the banks around it use it: keys, codes, lost answers, the way back."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx2 as httpx
import pytest

from .bank import Customer, a_customer, brl, eventually


async def asked(
    customer: Customer, verb: str, path: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    headers = {**customer.headers, "Idempotency-Key": uuid4().hex}
    answer = await customer.http.request(verb, path, json=body, headers=headers)
    assert answer.is_success, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def settled(customer: Customer, key: str, amount: str = "400") -> dict[str, Any]:
    answer = await customer.pay({"pixKey": key}, brl(amount))
    transfer_id = answer.json()["transfer"]["transferId"]

    async def ended() -> dict[str, Any] | None:
        transfer = await customer.transfer(transfer_id)
        return transfer if transfer["status"] not in ("PENDING", "SCHEDULED") else None

    found: dict[str, Any] = await eventually(ended, "the rail")
    return found


async def balance_is(customer: Customer, minor_units: int) -> None:
    async def reached() -> bool:
        return await customer.balance() == minor_units

    await eventually(reached, f"a balance of {minor_units}")


@pytest.mark.parametrize(
    ("key", "status", "left"),
    [
        ("timeout-settled@sandbox.example", "COMPLETED", 600),
        ("timeout-rejected-AB09@sandbox.example", "FAILED", 1_000),
        ("lost@sandbox.example", "COMPLETED", 600),
        ("duplicate@sandbox.example", "COMPLETED", 600),
    ],
)
async def test_a_payment_whose_answer_is_lost_ends_as_the_rail_says(
    http: httpx.AsyncClient, key: str, status: str, left: int
) -> None:
    payer = await a_customer(http, 1_000)

    ended = await settled(payer, key)

    assert ended["status"] == status
    await balance_is(payer, left)


async def test_money_that_another_bank_gives_back_is_on_the_account(
    http: httpx.AsyncClient,
) -> None:
    payer = await a_customer(http, 1_000)

    sent = await settled(payer, "return-md06-150@sandbox.example")
    await balance_is(payer, 750)
    body: dict[str, Any] = {"reason": "BE08"}
    await asked(payer, "POST", f"/sandbox/v1/pix/payments/{sent['transferId']}/returns", body)

    await balance_is(payer, 1_000)


async def test_a_company_registers_a_key_and_is_paid_under_it(http: httpx.AsyncClient) -> None:
    payee, payer = await a_customer(http), await a_customer(http, 1_000)
    phone = f"+5511{uuid4().int % 10**9:09}"
    body = {"accountId": payee.account_id, "kind": "PHONE", "pixKey": phone}

    key = (await asked(payee, "POST", "/v1/pix/keys", body))["key"]
    code = await asked(payee, "POST", f"/sandbox/v1/pix/keys/{key['keyId']}:code", {})
    proven = await asked(payee, "POST", f"/v1/pix/keys/{key['keyId']}:confirm", code)
    found = await asked(payer, "POST", "/v1/pix/keys:lookup", {"pixKey": phone})
    await settled(payer, phone)

    assert key["status"] == "AWAITING_PROOF"
    assert proven["key"]["status"] == "ACTIVE"
    assert (found["holder"]["name"], found["holder"]["participantIspb"]) == ("Souza ME", "90400888")
    await balance_is(payee, 400)


async def test_a_charge_is_shown_signed_paid_and_given_back(http: httpx.AsyncClient) -> None:
    payee = await a_customer(http)
    body = {
        "accountId": payee.account_id,
        "kind": "DYNAMIC",
        "amount": brl("500"),
        "description": "Pedido 42",
    }

    code = (await asked(payee, "POST", "/v1/pix/qrcodes", body))["qrCode"]
    place = code["location"].partition("/")[2]
    charge = await http.get(f"/{place}")
    paid = await asked(payee, "POST", "/sandbox/v1/deposits", {"brCode": code["brCode"]})
    await balance_is(payee, 500)
    end_to_end_id = paid["deposit"]["endToEndId"]
    receipt = (await asked(payee, "GET", f"/v1/pix/receipts/{end_to_end_id}"))["receipt"]
    back = await asked(
        payee, "POST", f"/v1/pix/receipts/{end_to_end_id}/returns", {"amount": brl("120")}
    )

    assert charge.headers["content-type"] == "application/jose"
    payload = charge.text.split(".")[1]
    said = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert (said["txid"], said["valor"]) == (code["txid"], {"original": "5.00"})
    assert receipt["txid"] == code["txid"]
    assert back["pixReturn"]["returnEndToEndId"].startswith("D90400888")
    await balance_is(payee, 380)
    shown = await asked(payee, "GET", f"/v1/pix/qrcodes/{code['qrCodeId']}")
    assert shown["qrCode"]["status"] == "PAID"


async def test_the_rail_gives_a_file_of_the_day(http: httpx.AsyncClient) -> None:
    payer = await a_customer(http, 1_000)
    sent = await settled(payer, "fornecedor@example.com")

    file = await asked(payer, "GET", f"/sandbox/v1/pix/settlements/{datetime.now(UTC):%Y-%m-%d}")

    assert f"payment,{sent['endToEndId']},,-400," in file["csv"]
