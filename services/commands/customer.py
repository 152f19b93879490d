"""A customer of the bank at their phone: what an app does, over the REST API."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import httpx2

from mesh.ids import new_id
from mesh.supervisor.problem import Problem

__all__ = ["Answer", "Customer", "Person", "eventually", "reais", "someone_like"]

T = TypeVar("T")

PATIENCE_S = 20.0
POLL_S = 0.05
CURRENCY = "BRL"


@dataclass(frozen=True)
class Person:
    """Who signs up, and for which company. The documents are valid, and nobody's."""

    full_name: str
    email: str
    cpf: str
    legal_name: str
    cnpj: str
    password: str = "correct horse battery staple"  # noqa: S105 - a demo's


@dataclass(frozen=True)
class Answer:
    """What the API answered: the body, its trace, and whether it was kept from before."""

    body: dict[str, Any]
    trace_id: str
    replayed: bool


class Customer:
    """One person with their session. Amounts are minor units: centavos."""

    def __init__(self, client: httpx2.AsyncClient, person: Person) -> None:
        self.person = person
        self.account_id = ""
        self._client = client
        self.token = ""

    async def sign_up(self) -> dict[str, Any]:
        """Signs up the person and their company."""
        person = self.person
        body = {
            "email": person.email,
            "password": person.password,
            "fullName": person.full_name,
            "cpf": person.cpf,
            "company": {"legalName": person.legal_name, "cnpj": person.cnpj},
        }
        user: dict[str, Any] = (await self.post("/v1/users", body)).body["user"]
        return user

    async def code(self) -> str:
        """Waits for the code in the mailbox of the sandbox."""

        async def look() -> str:
            mailbox = await self.get(f"/sandbox/v1/mailbox?to={self.person.email}")
            return next((mail["code"] for mail in mailbox["messages"] if mail["code"]), "")

        return await eventually("a mail with a code", look)

    async def confirm(self, code: str) -> dict[str, Any]:
        """Confirms the e-mail address."""
        body = {"email": self.person.email, "code": code}
        user: dict[str, Any] = (await self.post("/v1/users:confirm", body)).body["user"]
        return user

    async def sign_in(self) -> None:
        """Signs in; what follows is asked as this person."""
        body = {"email": self.person.email, "password": self.person.password}
        self.token = (await self.post("/v1/sessions", body)).body["accessToken"]

    async def account(self) -> dict[str, Any]:
        """Waits for the account that opens by itself."""

        async def look() -> dict[str, Any] | None:
            accounts = (await self.get("/v1/accounts"))["accounts"]
            return accounts[0] if accounts else None

        found = await eventually("an account", look)
        self.account_id = found["accountId"]
        return found

    async def balance(self) -> int:
        """The balance of now."""
        return await self._amount("balance")

    async def available(self) -> int:
        """The balance of now, less what is held."""
        return await self._amount("available")

    async def receive(self, amount: int) -> dict[str, Any]:
        """Is paid by Pix from another bank, which the sandbox plays."""
        body = {"accountId": self.account_id, "amount": _money(amount)}
        headers = {"Prefer": "wait=4"}
        answer = await self.post("/sandbox/v1/deposits", body, headers)
        deposit: dict[str, Any] = answer.body["deposit"]
        return deposit

    async def pay(
        self,
        payee: Mapping[str, str],
        amount: int,
        description: str,
        *,
        key: str | None = None,
        wait_s: int = 4,
    ) -> Answer:
        """Pays; a payment with the key of an earlier one is that one."""
        body = {
            "payerAccountId": self.account_id,
            "payee": dict(payee),
            "amount": _money(amount),
            "description": description,
        }
        headers = {"Idempotency-Key": key or new_id(), "Prefer": f"wait={wait_s}"}
        return await self.post("/v1/transfers", body, headers)

    async def transfer(self, transfer_id: str) -> dict[str, Any]:
        """Reads a transfer."""
        found: dict[str, Any] = (await self.get(f"/v1/transfers/{transfer_id}"))["transfer"]
        return found

    async def statement(self, after: int = 0) -> dict[str, Any]:
        """Reads the statement, the newest entry first."""
        return await self.get(f"/v1/accounts/{self.account_id}/statement?after={after}")

    async def notifications(self) -> list[dict[str, Any]]:
        """Reads the messages that were sent."""
        found: list[dict[str, Any]] = (await self.get("/v1/notifications"))["notifications"]
        return found

    async def get(self, path: str) -> dict[str, Any]:
        """Asks for something. Raises Problem with the API's own words."""
        return (await self._ask("GET", path)).body

    async def post(
        self, path: str, body: object, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Sends something. Raises Problem with the API's own words."""
        return await self._ask("POST", path, body, headers)

    async def _amount(self, name: str) -> int:
        account = (await self.get(f"/v1/accounts/{self.account_id}"))["account"]
        return int(account[name]["minorUnits"])

    async def _ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        sent = dict(headers or {})
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        answer = await self._client.request(method, path, json=body, headers=sent)
        trace_id = answer.headers.get("traceresponse", "--").split("-")[1]
        if answer.is_error:
            what = f"{method} {path} answers {answer.status_code}"
            raise Problem(what, answer.text.strip(), f"./bank trace show {trace_id}")
        replayed = answer.headers.get("idempotent-replayed") == "true"
        return Answer(answer.json(), trace_id, replayed)


async def eventually(what: str, look: Callable[[], Awaitable[T | None]]) -> T:
    """Looks until there is something. Raises Problem when it does not come."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if found := await look():
                    return found
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        why = f"waited {PATIENCE_S:.0f} s"
        raise Problem(f"{what} does not come", why, "./bank logs") from None


def someone_like(person: Person) -> Person:
    """Somebody with the same names and password whom no bank knows yet."""
    from stdnum.br import cnpj, cpf

    number = f"{secrets.randbelow(10**8):08}"
    name, _, domain = person.email.partition("@")
    return replace(
        person,
        email=f"{name}.{number}@{domain}",
        cpf=cpf.format(_checked(f"{number}1", cpf.is_valid)),
        cnpj=cnpj.format(_checked(f"{number}0001", cnpj.is_valid)),
    )


def _checked(number: str, is_valid: Callable[[str], bool]) -> str:
    """Adds the two check digits."""
    return next(f"{number}{digits:02}" for digits in range(100) if is_valid(f"{number}{digits:02}"))


def reais(minor_units: int) -> str:
    """An amount as it is written in Brazil."""
    whole, cents = divmod(abs(minor_units), 100)
    sign = "-" if minor_units < 0 else ""
    return f"{sign}R$ {whole:,}".replace(",", ".") + f",{cents:02}"


def _money(minor_units: int) -> dict[str, object]:
    return {"minorUnits": str(minor_units), "currencyCode": CURRENCY}
