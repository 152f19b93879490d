"""Payments a second from REST to completed, and the time from a request to its statement line.

    python -m benchmarks.payments [--url http://127.0.0.1:8080] [--db sqlite|postgres]
        [--seconds 5] [--rounds 5]

Starts the whole bank with fresh data on free ports, unless told where one is up. Callers pay one
another as fast as they are answered; every answer is held back until its payment has ended, and
must say so. Then single payments, each read back from the payee's statement.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import httpx2 as httpx
import uvloop

from benchmarks.connection import Connection
from mesh.supervisor.embedded import Embedded
from mesh.supervisor.ports import Ports
from mesh.supervisor.project import DatabaseKind
from services.__main__ import BANK
from services.commands.customer import Customer
from services.commands.story import ANA

CALLERS = (1, 32, 128)
CUSTOMERS = 16


@dataclass(frozen=True)
class Account:
    """An account and the token that opens it."""

    account_id: str
    token: str


def percentile(samples: list[float], percent: int) -> float:
    return sorted(samples)[min(len(samples) - 1, len(samples) * percent // 100)] * 1e3


async def pay(connection: Connection, payer: Account, payee: Account) -> None:
    body = {
        "payerAccountId": payer.account_id,
        "payee": {"accountId": payee.account_id},
        "amount": {"minorUnits": "1", "currencyCode": "BRL"},
    }
    headers = {
        "Authorization": f"Bearer {payer.token}",
        "Idempotency-Key": uuid4().hex,
        "Prefer": "wait=4",
    }
    answer = await connection.ask("POST", "/v1/transfers", headers, json.dumps(body).encode())
    if answer[0] != 201 or answer[1]["transfer"]["status"] != "COMPLETED":
        raise AssertionError(answer)


async def load(url: str, crowd: list[Account], callers: int, seconds: float) -> list[float]:
    """Pays from so many callers for some seconds; gives the latency of each payment."""
    latencies: list[float] = []
    connections = [await Connection.open(url) for _ in range(callers)]
    end = time.monotonic() + seconds

    async def caller(number: int, connection: Connection) -> None:
        payer, payee = crowd[number % len(crowd)], crowd[(number + 1) % len(crowd)]
        while time.monotonic() < end:
            began = time.perf_counter()
            await pay(connection, payer, payee)
            latencies.append(time.perf_counter() - began)

    await asyncio.gather(*(caller(*numbered) for numbered in enumerate(connections)))
    for connection in connections:
        await connection.close()
    return latencies


async def request_to_line(url: str, payer: Account, payee: Account, count: int) -> list[float]:
    """Times single payments from the request until the payee's statement has the line."""
    connection = await Connection.open(url)
    headers = {"Authorization": f"Bearer {payee.token}"}
    path = f"/v1/accounts/{payee.account_id}/statement?pageSize=1"
    status, statement = await connection.ask("GET", path, headers)
    version = int(statement["asOfVersion"])
    samples = []
    for number in range(1, count + 1):
        began = time.perf_counter()
        await pay(connection, payer, payee)
        while int(statement["asOfVersion"]) < version + number:
            status, statement = await connection.ask(
                "GET", f"{path}&after={version + number}", headers
            )
            assert status == 200, statement
        samples.append(time.perf_counter() - began)
    await connection.close()
    return samples


async def customers(url: str) -> list[Account]:
    """Signs up so many customers, each with more money than a run can move."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        return [await customer(client) for _ in range(CUSTOMERS)]


async def customer(client: httpx.AsyncClient) -> Account:
    person = Customer(client, replace(ANA, email=f"{uuid4().hex}@example.com"))
    await person.sign_up()
    await person.confirm(await person.code())
    await person.sign_in()
    await person.account()
    await person.receive(100_000_000)
    return Account(person.account_id, person.token)


@asynccontextmanager
async def bank(url: str | None, database: DatabaseKind) -> AsyncIterator[str]:
    """Gives the URL of a bank that is up: the one that was named, or one of our own."""
    if url:
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="bank-bench-") as data:
        embedded = Embedded(BANK, Path(data), Ports.free(), database=database)
        await embedded.up()
        try:
            yield embedded.endpoints.rest
        finally:
            await embedded.down()


async def main(url: str | None, database: DatabaseKind, seconds: float, rounds: int) -> None:
    async with bank(url, database) as found:
        await measure(found, seconds, rounds)


async def measure(url: str, seconds: float, rounds: int) -> None:
    crowd = await customers(url)
    await load(url, crowd, 32, 2)
    for callers in CALLERS:
        rates, latencies = [], []
        for _ in range(rounds):
            samples = await load(url, crowd, callers, seconds)
            rates.append(len(samples) / seconds)
            latencies += samples
        print(
            f"REST to completed, {callers:>3} callers: {statistics.median(rates):6.0f} payments/s"
            f" [{min(rates):.0f}-{max(rates):.0f}],"
            f" p50 {percentile(latencies, 50):.1f} ms, p99 {percentile(latencies, 99):.1f} ms",
            flush=True,
        )
    samples = await request_to_line(url, crowd[0], crowd[1], 200)
    print(
        f"request to statement line, one at a time:"
        f" p50 {percentile(samples, 50):.1f} ms, p99 {percentile(samples, 99):.1f} ms"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url")
    parser.add_argument("--db", type=DatabaseKind)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    # uvloop cannot give PostgreSQL the user that it needs; both databases are measured alike.
    run = asyncio.run if arguments.db else uvloop.run
    kind = arguments.db or DatabaseKind.SQLITE
    run(main(arguments.url, kind, arguments.seconds, arguments.rounds))
