"""A partner's program at the running bank: what its key does, and when it is refused."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx2 as httpx

from .bank import Customer, a_customer, brl, eventually

Made = tuple[str, dict[str, Any]]


async def make(owner: Customer, *scopes: str, **plan: int) -> Made:
    """Makes a key; gives the path of it and its answer."""
    me = (await owner.http.get("/v1/me", headers=owner.headers)).json()
    path = f"/v1/companies/{me['companies'][0]['companyId']}/api-keys"
    body = {"name": "the till", "scopes": scopes, "plan": plan}
    answer = await owner.http.post(path, json=body, headers=owner.headers)
    assert answer.status_code == 201, answer.text
    return f"{path}/{answer.json()['key']['keyId']}", answer.json()


async def test_a_key_does_what_it_is_for_within_its_plan_until_it_is_revoked(
    http: httpx.AsyncClient,
) -> None:
    owner, payee = await a_customer(http, 1_000), await a_customer(http)
    path, made = await make(owner, "accounts:read", "transfers:write", perSecond=1000)
    till = Customer(http, token=made["secret"], account_id=owner.account_id)

    # Services hear of a key as of a new member.
    [account] = await eventually(till.accounts, "the key to be known")
    assert account["accountId"] == owner.account_id

    async def paid() -> bool:
        answer = await till.pay({"accountId": payee.account_id}, brl(1), key="once")
        return answer.status_code == 201

    await eventually(paid, "the key to pay")
    other = await http.get(f"/v1/accounts/{payee.account_id}", headers=till.headers)
    assert other.status_code == 404
    for beyond in ("/v1/me", f"/v1/accounts/{owner.account_id}/statement", "/v1/transfers"):
        answer = await http.get(beyond, headers=till.headers)
        assert (answer.status_code, answer.json()["reason"]) == (403, "SCOPE_MISSING"), beyond

    assert (await http.delete(path, headers=owner.headers)).status_code == 200

    async def refused() -> bool:
        answer = await http.get("/v1/accounts", headers=till.headers)
        return answer.status_code == 401

    await eventually(refused, "the key to be refused", patience_s=5)
    sent = {**till.headers, "Idempotency-Key": uuid4().hex}
    body = {"payerAccountId": owner.account_id, "payee": {"accountId": payee.account_id}}

    async def refused_by_another() -> bool:
        answer = await http.post("/v1/transfers", json=body | {"amount": brl(1)}, headers=sent)
        return answer.status_code == 401

    await eventually(refused_by_another, "the key to be refused by transfers", patience_s=5)


async def test_a_quota_is_used_up_and_told(http: httpx.AsyncClient) -> None:
    owner = await a_customer(http)
    path, made = await make(owner, "accounts:read", dailyQuota=3)
    key = {"X-Api-Key": made["secret"]}

    answers = [await http.get("/v1/accounts", headers=key) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200] * 3 + [429]
    assert answers[-1].json()["reason"] == "QUOTA_EXCEEDED"
    assert int(answers[-1].headers["retry-after"]) > 0
    listed = await http.get(path.rpartition("/")[0], headers=owner.headers)
    assert [each["usedToday"] for each in listed.json()["keys"]] == ["3"]
