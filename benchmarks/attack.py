"""What an attacker costs the others: sign-ins by the thousand, beside a customer who goes on.

    python -m benchmarks.attack [--seconds 10] [--rounds 5]

Starts the whole bank on free ports. In paired rounds a customer asks for their accounts at a steady
rate, in open loop, with and without an attacker who tries 1,000 passwords a minute from one
address, each on another account, so that no limit of an account stops them. Prints the customer's
p50 and p99 of both, how late the loop of users was meanwhile, and what became of the attempts. Then
the key of tokens is rotated under 200 requests a second, of which none may fail.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import httpx2 as httpx
import uvloop

from benchmarks.connection import Connection
from benchmarks.payments import percentile
from mesh.ids import new_id
from mesh.supervisor.embedded import Embedded
from mesh.supervisor.ports import Ports
from services.__main__ import BANK
from services.commands.customer import Customer, Person
from services.commands.story import ANA

RATE = 50.0
ATTACK = 1_000 / 60
ROTATION_RATE = 200.0
CONNECTIONS = 32
BUCKET = re.compile(r'mesh_loop_lag_seconds_bucket\{.*?le="([^"]+)"[^}]*\} (\d+)')


async def customer(client: httpx.AsyncClient) -> Person:
    """Signs somebody up who has an account."""
    person = Customer(client, replace(ANA, email=f"{new_id()}@example.com"))
    await person.sign_up()
    await person.confirm(await person.code())
    await person.sign_in()
    await person.account()
    return person.person


async def at_rate(
    url: str, rate: float, seconds: float, ask: Callable[[Connection], Awaitable[int]]
) -> tuple[list[float], Counter[int]]:
    """Asks at a steady rate whatever is answered; gives latencies, from when each was due, and
    statuses.
    """
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(await Connection.open(url))
    latencies: list[float] = []
    statuses: Counter[int] = Counter()
    began = time.perf_counter()

    async def one(due: float) -> None:
        connection = await free.get()
        statuses[await ask(connection)] += 1
        latencies.append(time.perf_counter() - due)
        free.put_nowait(connection)

    async with asyncio.TaskGroup() as tasks:
        for number in range(int(rate * seconds)):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.create_task(one(due))
    while not free.empty():
        await free.get_nowait().close()
    return latencies, statuses


async def read(connection: Connection, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    status, _ = await connection.ask("GET", "/v1/accounts", headers)
    return status


async def guess(connection: Connection) -> int:
    body = {"email": f"{new_id()}@example.com", "password": "not the password"}
    status, _ = await connection.ask("POST", "/v1/sessions", {}, json.dumps(body).encode())
    return status


async def lag(client: httpx.AsyncClient, port: int) -> dict[float, int]:
    """How often the loop of users was late by no more than so many seconds, so far."""
    page = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    return {float(bound): int(count) for bound, count in BUCKET.findall(page)}


def late(before: dict[float, int], after: dict[float, int], share: float) -> float:
    """The bound below which a share of the waits stayed, in milliseconds."""
    grown = {bound: after[bound] - before.get(bound, 0) for bound in sorted(after)}
    total = max(grown.values(), default=0)
    return next((bound for bound, count in grown.items() if count >= share * total), 0.0) * 1e3


async def attack(url: str, port: int, token: str, seconds: float, rounds: int) -> None:
    async with httpx.AsyncClient() as client:
        p99s: dict[str, list[float]] = {"alone": [], "attacked": []}
        attempts: Counter[int] = Counter()
        before = await lag(client, port)
        for _ in range(rounds):
            alone, _ = await at_rate(url, RATE, seconds, lambda c: read(c, token))
            both = await asyncio.gather(
                at_rate(url, RATE, seconds, lambda c: read(c, token)),
                at_rate(url, ATTACK, seconds, guess),
            )
            attempts += both[1][1]
            p99s["alone"].append(percentile(alone, 99))
            p99s["attacked"].append(percentile(both[0][0], 99))
            print(
                f"p50 {percentile(alone, 50):.1f} ms, p99 {p99s['alone'][-1]:.1f} ms alone;"
                f" p50 {percentile(both[0][0], 50):.1f} ms, p99 {p99s['attacked'][-1]:.1f} ms"
                " attacked",
                flush=True,
            )
        after = await lag(client, port)
    ratios = [b / a for a, b in zip(p99s["alone"], p99s["attacked"], strict=True)]
    print(
        f"p99 attacked / alone: median {statistics.median(ratios):.2f}"
        f" [{min(ratios):.2f}-{max(ratios):.2f}]; attempts {dict(attempts)};"
        f" loop of users: 99% of waits below {late(before, after, 0.99):g} ms,"
        f" all below {late(before, after, 1.0):g} ms"
    )


@dataclass
class Session:
    """A session that gets another access token all the time, signed by the key of the moment."""

    client: httpx.AsyncClient
    token: str
    refresh_token: str
    refreshed: int = 0

    async def refresh(self) -> None:
        while True:
            body = {"refreshToken": self.refresh_token}
            answer = (await self.client.post("/v1/sessions:refresh", json=body)).raise_for_status()
            tokens = answer.json()
            self.token, self.refresh_token = tokens["accessToken"], tokens["refreshToken"]
            self.refreshed += 1
            await asyncio.sleep(0.1)

    async def read(self, connection: Connection) -> int:
        return await read(connection, self.token)


async def rotation(data: Path, session: Session, url: str) -> int:
    """Rotates the key three times under load, as fast as may be; gives how many failed."""

    async def rotate() -> None:
        for _ in range(3):
            await asyncio.sleep(2)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "services", "users", "rotate-key", "--lead", "0"),
                env={**os.environ, "BANK_DATA": str(data)},
            )
            if await process.wait():
                raise RuntimeError("the key was not rotated")

    refreshing = asyncio.create_task(session.refresh())
    load = at_rate(url, ROTATION_RATE, 25, session.read)
    (_, statuses), _ = await asyncio.gather(load, rotate())
    if refreshing.done():
        refreshing.result()
    refreshing.cancel()
    failed = sum(count for status, count in statuses.items() if status != 200)
    print(
        f"3 keys rotated under {ROTATION_RATE:.0f} requests a second, {session.refreshed} tokens:"
        f" {dict(statuses)}"
    )
    return failed


async def main(seconds: float, rounds: int) -> int:
    with tempfile.TemporaryDirectory(prefix="bank-attack-") as folder:
        embedded = Embedded(BANK, Path(folder), Ports.free())
        await embedded.up()
        try:
            url = embedded.endpoints.rest
            async with httpx.AsyncClient(base_url=url, timeout=30) as client:
                person = await customer(client)
                body = {"email": person.email, "password": person.password}
                tokens = (await client.post("/v1/sessions", json=body)).json()
                session = Session(client, tokens["accessToken"], tokens["refreshToken"])
                port = embedded.admin_port("users")
                await attack(url, port, session.token, seconds, rounds)
                return await rotation(Path(folder), session, url)
        finally:
            await embedded.down()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    sys.exit(uvloop.run(main(arguments.seconds, arguments.rounds)) > 0)
