"""kill -9 of any one process during payments: each ends once, and the books agree."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from typing import Any
from uuid import uuid4

import httpx2 as httpx
import psutil
import pytest

from .bank import (
    ROOT,
    Bank,
    Customer,
    a_customer,
    brl,
    command,
    environment,
    eventually,
)

PAYMENTS = 200
AT_ONCE = 32
SERVICES = ("accounts", "transfers", "statements", "notifications", "users", "pix", "bff")
UNSEEN = {"nats-server": "nats-server", "control-plane": "mesh.xds"}


def kill_process(bank: Bank, needle: str) -> int:
    """Kills the process of the profile whose command line names the needle; gives its id."""
    assert bank.process is not None
    for child in psutil.Process(bank.process.pid).children(recursive=True):
        if any(needle in word for word in child.cmdline()):
            child.send_signal(signal.SIGKILL)
            return child.pid
    raise AssertionError(f"{needle} does not run")


async def pay_until_answered(
    payer: Customer, payee: Customer, tries: list[int], key: str | None = None
) -> str:
    """Pays as a careful app does: the same key until there is an answer."""
    key = key or uuid4().hex
    while True:
        tries.append(1)
        try:
            answer = await payer.pay({"accountId": payee.account_id}, brl("3"), key)
        except httpx.TransportError:
            answer = None
        if answer is not None and answer.status_code == 201:
            return str(answer.json()["transfer"]["transferId"])
        assert answer is None or answer.status_code in (409, 429, 500, 502, 503, 504), answer.text
        assert answer is None or answer.status_code != 500, answer.text
        await asyncio.sleep(0.1)


@pytest.fixture
async def crowd(http: httpx.AsyncClient) -> list[Customer]:
    return list(await asyncio.gather(*(a_customer(http, 10_000) for _ in range(4))))


async def pay_around(crowd: list[Customer], strike: Any) -> tuple[list[str], int]:
    """Makes the payments, strikes in their middle; gives the transfers and the number of tries."""
    limit = asyncio.Semaphore(AT_ONCE)
    done: list[str] = []
    tries: list[int] = []

    async def one(number: int) -> None:
        payer = crowd[number % len(crowd)]
        payee = crowd[(number + 1 + number // len(crowd)) % len(crowd)]
        if payee is payer:
            payee = crowd[(number + 1) % len(crowd)]
        async with limit:
            done.append(await pay_until_answered(payer, payee, tries))
        if len(done) == PAYMENTS // 4:
            strike()

    await asyncio.gather(*(one(number) for number in range(PAYMENTS)))
    return done, len(tries)


async def books_agree(bank: Bank, crowd: list[Customer], transfers: list[str]) -> None:
    """Every payment is final and was made once; ledger and statements say the same."""
    assert len(set(transfers)) == len(transfers)
    ends: dict[str, str] = {}

    async def all_final() -> bool:
        for payer in crowd:
            token = ""
            while True:
                answer = await payer.http.get(
                    "/v1/transfers",
                    headers=payer.headers,
                    params={"pageSize": 100, "pageToken": token},
                )
                if answer.status_code != 200:
                    return False
                page = answer.json()
                ends.update({t["transferId"]: t["status"] for t in page["transfers"]})
                token = page["nextPageToken"]
                if not token:
                    break
        return all(ends.get(transfer) in ("COMPLETED", "FAILED") for transfer in transfers)

    await eventually(all_final, "every payment to end", 60)
    assert len(ends) == len(transfers)

    async def statements_equal_the_ledger() -> bool:
        for customer in crowd:
            lines = await customer.lines()
            [account] = await customer.accounts()
            if len(lines) != int(account["version"]):
                return False
            balance = 0
            for version, line in enumerate(lines, 1):
                balance += int(line["amount"]["minorUnits"])
                assert int(line["version"]) == version
                assert int(line["balanceAfter"]["minorUnits"]) == balance
            assert balance == int(account["balance"]["minorUnits"])
            made = [line["transferId"] for line in lines if line["transferId"] in ends]
            assert len(made) == len(set(made))
            assert all(ends[transfer] == "COMPLETED" for transfer in made)
        return True

    await eventually(statements_equal_the_ledger, "the statements", 60)
    verified = await asyncio.to_thread(
        subprocess.run,
        command("ledger", "verify", "--output", "json"),
        env=environment(bank.data),
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert verified.returncode == 0, verified.stderr
    assert int(json.loads(verified.stdout)["totalMinorUnits"]) == 0


@pytest.mark.parametrize("victim", SERVICES)
async def test_a_service_is_killed_and_every_payment_ends_once(
    bank: Bank, crowd: list[Customer], victim: str
) -> None:
    before = bank.pids(victim)

    transfers, _ = await pay_around(crowd, lambda: [os.kill(pid, signal.SIGKILL) for pid in before])

    await books_agree(bank, crowd, transfers)

    async def restarted() -> bool:
        services = {s["name"]: s for s in (await asyncio.to_thread(bank.refresh))["services"]}
        instances = services[victim]["instances"]
        return bool(instances) and all(
            i["state"] == "READY" and i["pid"] not in before for i in instances
        )

    await eventually(restarted, f"{victim} to be restarted")


@pytest.mark.parametrize("victim", UNSEEN)
async def test_no_payment_fails_when_what_is_beside_the_services_is_killed(
    bank: Bank, crowd: list[Customer], victim: str
) -> None:
    transfers, tries = await pay_around(crowd, lambda: kill_process(bank, UNSEEN[victim]))

    assert tries == PAYMENTS
    await books_agree(bank, crowd, transfers)
