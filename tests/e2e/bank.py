"""The bank as its customers see it: a base URL, and people who sign up, pay and read."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2 as httpx
import psutil
import pyotp

ROOT = Path(__file__).parents[2]
PASSWORD = "correct horse battery staple"
PATIENCE_S = 30.0


async def eventually(
    probe: Callable[[], Awaitable[Any]], what: str, patience_s: float = PATIENCE_S
) -> Any:
    """Asks until the answer is true, and gives it."""
    deadline = time.monotonic() + patience_s
    while True:
        if answer := await probe():
            return answer
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0.05)


def brl(minor_units: Any) -> dict[str, Any]:
    return {"minorUnits": minor_units, "currencyCode": "BRL"}


@dataclass
class Bank:
    """A running bank: its addresses and its processes."""

    data: Path
    status: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None
    databases: dict[str, str] = field(default_factory=dict)

    @property
    def rest(self) -> str:
        return str(self.status["endpoints"]["rest"])

    @property
    def traces(self) -> str:
        return str(self.status["endpoints"]["traces"])

    def refresh(self) -> dict[str, Any]:
        self.status = read_status(self.data)
        return self.status

    def pids(self, service: str) -> list[int]:
        services = {entry["name"]: entry for entry in self.refresh()["services"]}
        return [instance["pid"] for instance in services[service]["instances"]]

    def kill(self, service: str) -> None:
        for pid in self.pids(service):
            os.kill(pid, signal.SIGKILL)

    async def rows(self, service: str, table: str) -> int:
        """How many rows a service keeps in a table, as its database tells."""
        [row] = await self.query(service, f"SELECT count(*) AS found FROM {table}")
        return int(row["found"])

    async def query(self, service: str, query: str) -> list[dict[str, Any]]:
        """What the database of a service answers."""
        address = self.database_of(service)
        if address.startswith("sqlite"):
            with contextlib.closing(sqlite3.connect(address.removeprefix("sqlite:///"))) as file:
                file.row_factory = sqlite3.Row
                return [dict(row) for row in file.execute(query)]
        connection = await asyncpg.connect(address)
        try:
            return [dict(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()

    def database_of(self, service: str) -> str:
        """The URL of a service's database, as its process was told: always the same."""
        if service not in self.databases:
            told = psutil.Process(self.pids(service)[0]).environ()
            file = self.data / service / f"{service}.db"
            self.databases[service] = told.get("MESH_DATABASE_URL", f"sqlite:///{file}")
        return self.databases[service]

    def client(self) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
        return httpx.AsyncClient(base_url=self.rest, timeout=20, limits=limits)


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "services", *words]


def environment(data: Path) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "protos" / "gen")])
    return {**os.environ, "BANK_DATA": str(data), "PYTHONPATH": path, "NO_COLOR": "1"}


def read_status(data: Path) -> dict[str, Any]:
    asked = subprocess.run(
        command("status", "--output", "json"),
        env=environment(data),
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=30,
    )
    status: dict[str, Any] = json.loads(asked.stdout)
    return status


@dataclass
class Customer:
    """A person with a company, signed in."""

    http: httpx.AsyncClient
    email: str = field(default_factory=lambda: f"{uuid4().hex}@example.com")
    token: str = ""
    account_id: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    async def sign_up(self) -> httpx.Response:
        return await self.http.post(
            "/v1/users",
            json={
                "email": self.email,
                "password": PASSWORD,
                "fullName": "Ana Souza",
                "cpf": "529.982.247-25",
                "company": {"legalName": "Souza ME", "cnpj": "11.222.333/0001-81"},
            },
        )

    async def code(self) -> str:
        async def read() -> str:
            mailbox = await self.http.get("/sandbox/v1/mailbox", params={"to": self.email})
            messages = mailbox.json().get("messages", [])
            return next((mail["code"] for mail in messages if mail["code"]), "")

        return str(await eventually(read, "the confirmation code"))

    async def confirm(self) -> httpx.Response:
        body = {"email": self.email, "code": await self.code()}
        return await self.http.post("/v1/users:confirm", json=body)

    async def sign_in(self, password: str = PASSWORD) -> httpx.Response:
        answer = await self.http.post(
            "/v1/sessions", json={"email": self.email, "password": password}
        )
        if answer.status_code == 201:
            self.token = answer.json()["accessToken"]
        return answer

    async def accounts(self) -> list[dict[str, Any]]:
        answer = await self.http.get("/v1/accounts", headers=self.headers)
        accounts: list[dict[str, Any]] = answer.json().get("accounts", [])
        return accounts

    async def balance(self) -> int:
        [account] = await self.accounts()
        return int(account["balance"]["minorUnits"])

    async def deposit(self, minor_units: int) -> httpx.Response:
        body = {"accountId": self.account_id, "amount": brl(minor_units)}
        key = {"Idempotency-Key": uuid4().hex}
        return await self.http.post("/sandbox/v1/deposits", json=body, headers=key)

    async def pay(
        self, payee: dict[str, str], amount: Any, key: str | None = None, **more: Any
    ) -> httpx.Response:
        body = {"payerAccountId": self.account_id, "payee": payee, "amount": amount, **more}
        headers = {**self.headers, "Idempotency-Key": key or uuid4().hex}
        return await self.http.post("/v1/transfers", json=body, headers=headers)

    async def transfer(self, transfer_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"/v1/transfers/{transfer_id}", headers=self.headers)
        transfer: dict[str, Any] = answer.json()["transfer"]
        return transfer

    async def statement(self, **parameters: Any) -> dict[str, Any]:
        answer = await self.http.get(
            f"/v1/accounts/{self.account_id}/statement", headers=self.headers, params=parameters
        )
        statement: dict[str, Any] = answer.json()
        return statement

    async def lines(self) -> list[dict[str, Any]]:
        """Every line of the statement, the oldest first; none while statements is away."""
        lines: list[dict[str, Any]] = []
        token = ""
        while True:
            page = await self.statement(pageSize=100, pageToken=token)
            if "entries" not in page:
                return []
            lines += page["entries"]
            token = page["nextPageToken"]
            if not token:
                return lines[::-1]


async def a_customer(http: httpx.AsyncClient, minor_units: int = 0) -> Customer:
    """Signs somebody up, as far as money on the account."""
    customer = Customer(http)
    answer = await customer.sign_up()
    assert answer.status_code == 201, answer.text
    answer = await customer.confirm()
    assert answer.status_code == 200, answer.text
    answer = await customer.sign_in()
    assert answer.status_code == 201, answer.text
    [account] = await eventually(customer.accounts, "the account to open")
    customer.account_id = account["accountId"]
    if minor_units:
        answer = await customer.deposit(minor_units)
        assert answer.status_code == 201, answer.text

        async def arrived() -> bool:
            return await customer.balance() == minor_units

        await eventually(arrived, "the deposit")
    return customer


async def a_member_of_staff(bank: Bank, http: httpx.AsyncClient) -> dict[str, str]:
    """Adds a member of the staff, signed in with a second factor; gives the headers they send."""
    eva, password = Customer(http), "eva's own long words"
    added = await asyncio.create_subprocess_exec(
        *command("users", "add-staff", eva.email, "--name", "Eva"),
        env=environment(bank.data),
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await added.wait() == 0
    reset = {"email": eva.email, "code": await eva.code(), "newPassword": password}
    assert (await http.post("/v1/users:resetPassword", json=reset)).status_code == 200
    session = (await eva.sign_in(password)).json()
    enrolment = (await http.post("/v1/me/totp", json={}, headers=eva.headers)).json()
    code = pyotp.TOTP(enrolment["secret"]).now()
    await http.post("/v1/me/totp:confirm", json={"code": code}, headers=eva.headers)
    refresh = {"refreshToken": session["refreshToken"]}
    eva.token = (await http.post("/v1/sessions:refresh", json=refresh)).json()["accessToken"]
    return {**eva.headers, "X-Access-Reason": "the queue of tickets"}
