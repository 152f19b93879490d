"""Who is signed in, in every service at once."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import time
from typing import Any

import httpx2 as httpx
import pyotp

from .bank import ROOT, Bank, Customer, a_customer, brl, command, environment, eventually

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


def run(bank: Bank, *words: str) -> str:
    done = subprocess.run(
        command(*words),
        env=environment(bank.data),
        cwd=ROOT,
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    return done.stdout


async def test_a_new_key_is_published_at_once_and_nobody_notices(
    bank: Bank, http: httpx.AsyncClient
) -> None:
    customer = await a_customer(http)
    made = json.loads(await asyncio.to_thread(run, bank, "users", "rotate-key", "--output", "json"))
    keys = (await http.get("/.well-known/jwks.json")).json()["keys"]

    assert made["kid"] in [key["kid"] for key in keys]
    assert len(keys) >= 2
    assert (await customer.sign_in()).status_code == 201
    assert set(await statuses(http, list(READS), customer.token)) == {200}


async def test_who_is_disabled_by_the_operator_is_out_everywhere(
    bank: Bank, http: httpx.AsyncClient
) -> None:
    customer = await a_customer(http)
    assert set(await statuses(http, list(READS), customer.token)) == {200}
    user_id = (await http.get("/v1/me", headers=customer.headers)).json()["user"]["userId"]

    await asyncio.to_thread(run, bank, "users", "disable", user_id)

    async def refused() -> bool:
        return set(await statuses(http, list(READS), customer.token)) == {401}

    await eventually(refused, "every service to refuse", FELT_S)
    assert (await customer.sign_in()).json()["reason"] == "USER_DISABLED"


async def code_of(http: httpx.AsyncClient, email: str, kind: str) -> str:
    async def read() -> str:
        mailbox = await http.get("/sandbox/v1/mailbox", params={"to": email})
        mails: list[dict[str, Any]] = mailbox.json().get("messages", [])
        return next((mail["code"] for mail in mails if mail["kind"] == kind), "")

    return str(await eventually(read, f"the message {kind}"))


async def test_who_was_invited_acts_for_the_company_in_every_service(
    http: httpx.AsyncClient,
) -> None:
    owner = await a_customer(http, 1_000)
    bia = Customer(http)
    answer = await http.post(
        "/v1/users",
        json={
            "email": bia.email,
            "password": "correct horse battery staple",
            "fullName": "Bia Reis",
            "cpf": "529.982.247-25",
            "invited": True,
        },
    )
    assert answer.status_code == 201, answer.text
    assert (await bia.confirm()).status_code == 200
    assert (await bia.sign_in()).status_code == 201
    me = (await http.get("/v1/me", headers=owner.headers)).json()
    company = me["companies"][0]["companyId"]

    invited = await http.post(
        f"/v1/companies/{company}/invitations",
        json={"email": bia.email, "role": "ROLE_VIEWER"},
        headers=owner.headers,
    )
    code = await code_of(http, bia.email, "INVITATION")
    accepted = await http.post("/v1/invitations:accept", json={"code": code}, headers=bia.headers)

    assert invited.status_code == 201, invited.text
    assert accepted.status_code == 200, accepted.text
    [account] = await eventually(bia.accounts, "the company's account to be seen")
    assert account["accountId"] == owner.account_id


async def test_who_is_erased_is_gone_and_the_books_stay(
    bank: Bank, http: httpx.AsyncClient
) -> None:
    customer, other = await asyncio.gather(a_customer(http, 1_000), a_customer(http))
    paid = await customer.pay({"accountId": other.account_id}, brl("10"))
    assert paid.json()["transfer"]["status"] == "COMPLETED", paid.text
    export = (await http.get("/v1/me/export", headers=customer.headers)).json()
    assert (export["user"]["email"], export["cpf"]) == (customer.email, "52998224725")

    answer = await http.delete("/v1/me", headers=customer.headers)

    assert answer.status_code == 200, answer.text

    async def gone() -> bool:
        mailbox = await http.get("/sandbox/v1/mailbox", params={"to": customer.email})
        seen = await statuses(http, list(READS), customer.token)
        return set(seen) == {401} and not mailbox.json().get("messages")

    await eventually(gone, "everybody to forget", FELT_S)
    assert (await customer.sign_in()).json()["reason"] == "INVALID_CREDENTIALS"
    assert await other.balance() == 10
    await asyncio.to_thread(run, bank, "ledger", "verify")


async def test_staff_sees_a_customer_with_a_second_factor_and_a_reason(
    bank: Bank, http: httpx.AsyncClient
) -> None:
    customer = await a_customer(http)
    user_id = (await http.get("/v1/me", headers=customer.headers)).json()["user"]["userId"]
    path = f"/v1/staff/users/{user_id}"
    eva = Customer(http)
    await asyncio.to_thread(run, bank, "users", "add-staff", eva.email, "--name", "Eva")
    reset = {"email": eva.email, "code": await eva.code(), "newPassword": "eva's own long words"}
    assert (await http.post("/v1/users:resetPassword", json=reset)).status_code == 200
    session = (await eva.sign_in(reset["newPassword"])).json()
    without = await http.get(path, headers={**eva.headers, "X-Access-Reason": "ticket 4711"})

    enrolment = (await http.post("/v1/me/totp", json={}, headers=eva.headers)).json()
    code = pyotp.TOTP(enrolment["secret"]).now()
    done = await http.post("/v1/me/totp:confirm", json={"code": code}, headers=eva.headers)
    refresh = {"refreshToken": session["refreshToken"]}
    eva.token = (await http.post("/v1/sessions:refresh", json=refresh)).json()["accessToken"]
    unsaid = await http.get(path, headers=eva.headers)
    seen = await http.get(path, headers={**eva.headers, "X-Access-Reason": "ticket 4711"})
    as_customer = await http.get(path, headers={**customer.headers, "X-Access-Reason": "me"})

    assert (without.status_code, without.json()["reason"]) == (403, "STAFF_ONLY")
    assert len(done.json()["recoveryCodes"]) == 10
    assert (unsaid.status_code, unsaid.json()["reason"]) == (403, "ACCESS_REASON_MISSING")
    assert seen.json()["user"]["email"] == customer.email
    assert as_customer.json()["reason"] == "STAFF_ONLY"
