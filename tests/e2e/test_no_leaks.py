"""Nothing that is personal or secret is in what the bank writes or exports.

Values that are nowhere else go through the running bank, also where it says no. Then every file of
the bank's data is searched for them, every page of metrics, and every answer that was a refusal.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx2 as httpx
import pyotp

from services.commands.customer import someone_like
from services.commands.story import ANA

from .bank import Bank, Customer, brl, eventually
from .test_sight import run

PART = 1 << 20

# What a service keeps in plain text because it is what the service is for, and what a stream tells:
# the ledger's lines say what the payer wrote. The rest is nowhere, in no log and in no trace.
BELONGS: dict[str, set[str]] = {
    "name of the company": {"users"},
    "CNPJ": {"users"},
    "name of a key": {"users"},
    "e-mail address": {"notifications", "pix"},
    "Pix key": {"pix", "transfers", "suppliers", "statements"},
    "name of a supplier": {"suppliers"},
    "document of a supplier": {"suppliers"},
    "ticket": {"support"},
    "name": {"notifications"},
    "description": {"transfers", "pix", "accounts", "statements", "ACCOUNTS"},
    "address of a webhook": {"notifications"},
}


def digits(text: str) -> str:
    return "".join(each for each in text if each.isalnum())


class Planted:
    """Values that are found nowhere else, by what they are."""

    def __init__(self) -> None:
        self.values: dict[str, set[bytes]] = {}

    def plant(self, kind: str, *values: str) -> str:
        """Notes a value, also as it is written without punctuation and in a URL; gives it."""
        for value in values:
            forms = {value, value.casefold(), quote(value)}
            if digits(value).isdecimal():
                forms.add(digits(value))
            self.values.setdefault(kind, set()).update(form.encode() for form in forms)
        return values[0]

    def found(self, text: bytes) -> set[str]:
        return {kind for kind, forms in self.values.items() if any(form in text for form in forms)}


def word(prefix: str) -> str:
    return f"{prefix} {secrets.token_hex(8)}"


async def plant(http: httpx.AsyncClient, planted: Planted) -> list[httpx.Response]:
    """Lives through what a customer may; gives the answers, of which many are refusals."""
    person = someone_like(ANA)
    email = planted.plant("e-mail address", f"{secrets.token_hex(8)}@canario.example")
    body = {
        "email": email,
        "password": planted.plant("password", word("senha")),
        "fullName": planted.plant("name", word("Zuleica")),
        "cpf": planted.plant("CPF", person.cpf),
        "company": {
            "legalName": planted.plant("name of the company", word("Padaria")),
            "cnpj": planted.plant("CNPJ", person.cnpj),
        },
    }
    ana = Customer(http, email)
    answers = [await http.post("/v1/users", json=body)]
    answers.append(await http.post("/v1/users", json=body | {"cpf": "111", "extra": body["cpf"]}))
    answers.append(await ana.confirm())
    answers.append(await ana.sign_in(planted.plant("wrong password", word("errada"))))
    session = {"email": email, "password": body["password"], "deviceName": word("fone")}
    planted.plant("device", session["deviceName"])
    signed_in = await http.post("/v1/sessions", json=session)
    answers.append(signed_in)
    ana.token = planted.plant("access token", signed_in.json()["accessToken"])
    planted.plant("refresh token", signed_in.json()["refreshToken"])
    answers += await refusals(http, planted, ana, body)
    [account] = await eventually(ana.accounts, "the account to open")
    ana.account_id = account["accountId"]
    await ana.deposit(10_000)
    return answers + await business(http, planted, ana)


async def refusals(
    http: httpx.AsyncClient, planted: Planted, ana: Customer, body: dict[str, Any]
) -> list[httpx.Response]:
    """Says what is personal where it does not belong, and enrols an authenticator app."""
    enrolled = await http.post("/v1/me/totp", json={}, headers=ana.headers)
    secret = planted.plant("TOTP secret", enrolled.json()["secret"])
    code = {"code": pyotp.TOTP(secret).now()}
    codes = await http.post("/v1/me/totp:confirm", json=code, headers=ana.headers)
    planted.plant("recovery code", *codes.json()["recoveryCodes"])
    bad = {"Authorization": f"Bearer {planted.plant('made-up token', secrets.token_urlsafe(40))}"}
    params = {"q": body["cpf"], "email": body["email"]}
    me = (await http.get("/v1/me", headers=ana.headers)).json()
    key = {"name": planted.plant("name of a key", word("Caixa")), "scopes": ["accounts:read"]}
    path = f"/v1/companies/{me['companies'][0]['companyId']}/api-keys"
    made = await http.post(path, json=key, headers=ana.headers)
    till = {"X-Api-Key": planted.plant("API key", made.json()["secret"])}
    return [
        await http.get("/v1/accounts", headers=till),
        await http.get("/v1/me", headers=till),
        await http.get("/v1/me", headers=bad),
        await http.get(f"/v1/{quote(body['cpf'], safe='')}", headers=ana.headers),
        await http.get("/v1/accounts", params=params, headers=ana.headers),
        await http.get(f"/v1/transfers/{quote(body['email'])}", headers=ana.headers),
        await http.get("/v1/me", headers={**ana.headers, "User-Agent": body["email"]}),
        await http.post("/v1/users", content=f'{{"password": "{body["password"]}'.encode()),
        await http.post("/v1/sessions:refresh", json={"refreshToken": body["password"]}),
        await http.post("/v1/transfers", json={"payee": body}, headers=ana.headers),
    ]


async def business(
    http: httpx.AsyncClient, planted: Planted, ana: Customer
) -> list[httpx.Response]:
    """Pays, saves a supplier, opens a ticket, asks to be called."""
    other = someone_like(ANA)
    key = planted.plant("Pix key", f"{secrets.token_hex(8)}@chave.example")
    ticket = {"subject": word("Oi"), "description": word("Meu problema")}
    planted.plant("ticket", *ticket.values())
    supplier = {
        "name": planted.plant("name of a supplier", word("Moinho")),
        "document": planted.plant("document of a supplier", other.cpf),
        "pixKey": key,
    }
    address = f"https://{secrets.token_hex(8)}.example/?token={secrets.token_hex(8)}"
    hook = {"url": planted.plant("address of a webhook", address)}
    mine = {"accountId": ana.account_id, "kind": "PIX_KEY_KIND_EMAIL", "pixKey": ana.email}

    def post(path: str, body: dict[str, Any]) -> Any:
        headers = {**ana.headers, "Idempotency-Key": uuid4().hex}
        return http.post(path, json=body, headers=headers)

    return [
        await ana.pay(
            {"pixKey": key}, brl("1"), description=planted.plant("description", word("x"))
        ),
        await ana.pay({"pixKey": f"{key} "}, brl("0")),
        await post("/v1/suppliers", supplier),
        await post("/v1/suppliers", supplier | {"document": f"{other.cpf}1"}),
        await post("/v1/tickets", ticket),
        await post("/v1/webhooks", hook),
        await post("/v1/webhooks", hook | {"url": f"http://127.0.0.1/?token={ana.email}"}),
        await post("/v1/pix/keys", mine),
        await post("/v1/pix/keys:lookup", {"pixKey": key}),
    ]


def files(data: Path) -> Iterator[Path]:
    return (path for path in data.rglob("*") if path.is_file() and not path.is_symlink())


def search(planted: Planted, path: Path) -> set[str]:
    """Searches a file, part by part; each part has the end of the last one before it."""
    found: set[str] = set()
    end = b""
    try:
        with path.open("rb") as file:
            while part := file.read(PART):
                found |= planted.found(end + part)
                end = part[-1_024:]
    except FileNotFoundError:
        return set()
    return found


def search_all(planted: Planted, data: Path) -> dict[str, set[str]]:
    """Gives what was found where it does not belong."""
    found = {}
    for path in files(data):
        kinds = {each for each in search(planted, path) if not belongs(each, path, data)}
        if kinds:
            found[str(path.relative_to(data))] = kinds
    return found


def belongs(kind: str, path: Path, data: Path) -> bool:
    """Tells whether a value may be in a file: a service's database, or a stream's messages."""
    folders = path.relative_to(data).parts
    owner = folders[0] if ".db" in path.name else ""
    if "streams" in folders:
        owner = folders[folders.index("streams") + 1]
    return owner in BELONGS.get(kind, ())


async def test_what_is_personal_or_secret_is_in_nothing_that_is_written_or_exported(
    bank: Bank, http: httpx.AsyncClient
) -> None:
    planted = Planted()
    answers = await plant(http, planted)

    refused = [answer for answer in answers if answer.is_error]
    told = [(a.request.url.path, planted.found(a.content)) for a in refused]
    assert [each for each in told if each[1]] == []
    assert len(refused) >= 8, [(a.request.url.path, a.status_code) for a in answers]

    last = answers[-1].headers["traceresponse"].split("-")[1]

    async def arrived() -> bool:
        found = await http.get(f"{bank.traces}/api/traces/{last}")
        return found.status_code == 200

    await eventually(arrived, "the last trace")
    code, letters, _ = await run(bank.data, "events", "dlq", "ls", "--output", "json")
    assert (code, planted.found(letters.encode())) == (0, set())
    for page in await metrics(bank):
        assert planted.found(page.encode()) == set()
    assert await asyncio.to_thread(search_all, planted, bank.data) == {}


async def metrics(bank: Bank) -> list[str]:
    """The pages of metrics of every process."""
    addresses = [
        instance["admin"] for each in bank.refresh()["services"] for instance in each["instances"]
    ]
    async with httpx.AsyncClient(timeout=10) as client:
        pages = [await client.get(f"http://{address}/metrics") for address in addresses]
    assert len(pages) > 5
    return [page.text for page in pages]
