"""The books as customers and operators read them: balances, now and then, and if all is true."""

from __future__ import annotations

import asyncio
import json
import subprocess
from datetime import UTC, datetime
from typing import Any

import httpx2 as httpx

from .bank import ROOT, Bank, a_customer, brl, command, environment, eventually


def ledger(bank: Bank, *words: str) -> Any:
    done = subprocess.run(
        command("ledger", *words, "--output", "json"),
        env=environment(bank.data),
        cwd=ROOT,
        capture_output=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


async def test_a_balance_is_told_for_now_and_for_an_instant_that_is_past(
    http: httpx.AsyncClient,
) -> None:
    ana, bia = await a_customer(http, 10_00), await a_customer(http)
    path = f"/v1/accounts/{ana.account_id}/balance"
    before = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    paid = await ana.pay({"accountId": bia.account_id}, brl(3_00), "key-of-the-past")
    assert paid.status_code == 201, paid.text

    async def is_paid() -> bool:
        return await ana.balance() == 7_00

    await eventually(is_paid, "the payment")
    for _ in range(3):
        then = await http.get(path, params={"at": before}, headers=ana.headers)
        assert then.status_code == 200, then.text
        assert then.json()["balance"]["balance"] == {"minorUnits": "1000", "currencyCode": "BRL"}
        assert then.json()["balance"]["version"] == "1"
    now = (await http.get(path, headers=ana.headers)).json()["balance"]
    assert (now["balance"]["minorUnits"], now["available"]["minorUnits"]) == ("700", "700")

    tomorrow = "2999-01-01T00:00:00Z"
    refused = await http.get(path, params={"at": tomorrow}, headers=ana.headers)
    assert refused.status_code == 400, refused.text
    assert (await http.get(path, headers=bia.headers)).status_code == 404


async def test_an_operator_reads_the_books(bank: Bank, http: httpx.AsyncClient) -> None:
    ana = await a_customer(http, 10_00)
    balance = await asyncio.to_thread(ledger, bank, "balance", ana.account_id)
    statement = await asyncio.to_thread(ledger, bank, "statement", ana.account_id)
    trial = await asyncio.to_thread(ledger, bank, "trial-balance")

    assert (balance["minorUnits"], balance["version"]) == (10_00, 1)
    (line,) = statement["lines"]
    assert (line["minorUnits"], line["balanceAfter"], len(line["seal"])) == (10_00, 10_00, 64)
    assert trial["differences"] == {"BRL": 0}


async def test_every_service_finds_that_all_is_true(bank: Bank, http: httpx.AsyncClient) -> None:
    await a_customer(http, 10_00)

    found = await asyncio.to_thread(ledger, bank, "drift")

    assert (found["driftMinorUnits"], found["broken"]) == (0, 0)
    made = {(check["service"], check["name"]) for check in found["checks"]}
    assert made >= {("accounts", "lines"), ("accounts", "total"), ("statements", "ledger")}
    assert all(check["sweptAt"] and not check["problem"] for check in found["checks"])
