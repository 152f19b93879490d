"""Every route of the contracts, as nobody and as another customer, at the running bank."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from uuid import uuid4

import httpx2 as httpx

from mesh.cli.calls import methods
from mesh.rest.binding import Binding, bindings
from meshapi.v1 import options_pb2

from .bank import ROOT, Customer, a_customer, brl

SERVICES = {each.containing_service for each in methods(ROOT, ["bank"]).values()}
ROUTES = [
    binding
    for service in sorted(SERVICES, key=lambda service: str(service.full_name))
    for binding in bindings([service], with_sandbox=False)
]
# It says no more than that the session is not the caller's any more, if it ever was.
SAYS_NOTHING = {"DeleteSession"}
# A contract can be there before the edge serves it.
NOT_MOUNTED = {"ROUTE_NOT_FOUND", "METHOD_NOT_ALLOWED"}

Answered = tuple[int, str]


def is_for_users(binding: Binding) -> bool:
    return binding.policy.access in (options_pb2.ACCESS_USER, options_pb2.ACCESS_STAFF)


async def ask(
    http: httpx.AsyncClient, binding: Binding, ids: dict[str, str], headers: dict[str, str]
) -> Answered:
    """Asks a route with the ids that it names, and an empty body where it takes one."""
    path = re.sub(r"{(\w+)}", lambda name: ids.get(name[1], str(uuid4())), binding.path)
    sent = {**headers, "Idempotency-Key": uuid4().hex}
    body: Any = {} if binding.has_body else None
    answer = await http.request(binding.verb, path, json=body, headers=sent)
    return answer.status_code, answer.json().get("reason", "")


async def ids_of(http: httpx.AsyncClient, owner: Customer) -> dict[str, str]:
    """The ids of what a customer has, by the names that routes have for them."""
    me = (await http.get("/v1/me", headers=owner.headers)).json()
    sessions = (await http.get("/v1/me/sessions", headers=owner.headers)).json()["sessions"]
    company_id = me["companies"][0]["companyId"]
    paid = await owner.pay({"accountId": str(uuid4())}, brl("1"))
    supplier = await http.post(
        "/v1/suppliers",
        json={
            "companyId": company_id,
            "name": "Moinho",
            "document": "11.222.333/0001-81",
            "pixKey": "moinho@example.com",
        },
        headers={**owner.headers, "Idempotency-Key": uuid4().hex},
    )
    ticket = await http.post(
        "/v1/tickets",
        json={"subject": "Oi", "description": "Tudo bem?"},
        headers={**owner.headers, "Idempotency-Key": uuid4().hex},
    )
    invitation = await http.post(
        f"/v1/companies/{company_id}/invitations",
        json={"email": "x@example.com", "role": "ROLE_VIEWER"},
        headers=owner.headers,
    )
    found = {
        "account_id": owner.account_id,
        "user_id": me["user"]["userId"],
        "company_id": company_id,
        "session_id": sessions[0]["sessionId"],
        "invitation_id": invitation.json()["invitation"]["invitationId"],
    }
    for name, answer in (("transfer", paid), ("supplier", supplier), ("ticket", ticket)):
        told = answer.json().get(name, {})
        if f"{name}Id" in told:
            found[f"{name}_id"] = told[f"{name}Id"]
    return found


async def test_nobody_comes_in_without_a_token(http: httpx.AsyncClient) -> None:
    routes = [binding for binding in ROUTES if is_for_users(binding)]

    answers = await asyncio.gather(*(ask(http, binding, {}, {}) for binding in routes))

    wrong = [
        (binding.method.name, answer)
        for binding, answer in zip(routes, answers, strict=True)
        if answer != (401, "TOKEN_MISSING") and answer[1] not in NOT_MOUNTED
    ]
    assert wrong == []
    assert answers.count((401, "TOKEN_MISSING")) > 30


async def test_another_s_things_are_answered_as_those_that_are_not(
    http: httpx.AsyncClient,
) -> None:
    owner, other = await asyncio.gather(a_customer(http), a_customer(http))
    ids = await ids_of(http, owner)
    assert {"supplier_id", "ticket_id"} <= set(ids)
    routes = [binding for binding in ROUTES if is_for_users(binding) and "{" in binding.path]

    anothers = await asyncio.gather(*(ask(http, each, ids, other.headers) for each in routes))
    unknown = await asyncio.gather(*(ask(http, each, {}, other.headers) for each in routes))

    told = [
        (binding.method.name, of_another, of_nothing)
        for binding, of_another, of_nothing in zip(routes, anothers, unknown, strict=True)
        if of_another != of_nothing
        or (of_another[0] < 400 and binding.method.name not in SAYS_NOTHING)
    ]
    assert told == []
    assert len(routes) > 12
