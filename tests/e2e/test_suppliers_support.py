"""Whom a company pays, and whom it asks for help."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import httpx2 as httpx

from .bank import Bank, Customer, a_customer, a_member_of_staff, brl, eventually
from .test_paying import trace_of

SUPPLIER = {
    "name": "Embalagens Lima Ltda",
    "document": "12.ABC.345/01DE-35",
    "pixKey": "Vendas@Embalagens.example",
}


async def save_supplier(customer: Customer, **changes: Any) -> dict[str, Any]:
    async def saved() -> dict[str, Any]:
        answer = await customer.http.post(
            "/v1/suppliers", json=SUPPLIER | changes, headers=customer.headers
        )
        # The company may not have been heard of yet.
        assert answer.status_code == 201 or answer.json()["reason"] == "COMPANY_NOT_FOUND"
        supplier: dict[str, Any] = answer.json().get("supplier", {})
        return supplier

    supplier: dict[str, Any] = await eventually(saved, "the supplier")
    return supplier


async def test_a_supplier_is_saved_changed_paid_and_removed(http: httpx.AsyncClient) -> None:
    payer = await a_customer(http, 1_000)
    supplier = await save_supplier(payer)
    path = f"/v1/suppliers/{supplier['supplierId']}"
    assert (supplier["document"], supplier["status"]) == ("12ABC34501DE35", "ACTIVE")
    assert supplier["pixKey"] == "vendas@embalagens.example"

    change = {"favourite": True, "version": supplier["version"]}
    changed = await http.patch(path, json=change, headers=payer.headers)
    assert changed.status_code == 200, changed.text
    stale = await http.patch(path, json={**change, "name": "Outro"}, headers=payer.headers)
    assert (stale.status_code, stale.json()["reason"]) == (422, "VERSION_MISMATCH")
    listed = await http.get("/v1/suppliers?onlyFavourites=true", headers=payer.headers)
    assert [each["version"] for each in listed.json()["suppliers"]] == ["2"]

    paid = await payer.pay({"supplierId": supplier["supplierId"]}, brl("400"))
    assert paid.status_code == 201, paid.text
    transfer_id = paid.json()["transfer"]["transferId"]

    async def completed() -> bool:
        return bool((await payer.transfer(transfer_id))["status"] == "COMPLETED")

    await eventually(completed, "the rail")
    transfer = await payer.transfer(transfer_id)
    assert transfer["payee"] == {"supplierId": supplier["supplierId"]}
    assert await payer.balance() == 600

    async def counterparty() -> str:
        lines = await payer.lines()
        return str(lines[1]["counterparty"]) if len(lines) > 1 else ""

    assert await eventually(counterparty, "the line") == SUPPLIER["name"]

    for _ in range(2):
        removed = await http.delete(path, headers=payer.headers)
        assert removed.json()["supplier"]["status"] == "REMOVED"
    refused = await payer.pay({"supplierId": supplier["supplierId"]}, brl("1"))
    assert (refused.status_code, refused.json()["reason"]) == (404, "PAYEE_NOT_FOUND")
    changes = await http.get(f"{path}/changes", headers=payer.headers)
    assert [each["version"] for each in changes.json()["changes"]] == ["3", "2", "1"]


async def test_another_companys_supplier_is_neither_seen_nor_paid(
    http: httpx.AsyncClient,
) -> None:
    ana, eve = await asyncio.gather(a_customer(http), a_customer(http, 100))
    supplier = await save_supplier(ana)

    seen = await http.get(f"/v1/suppliers/{supplier['supplierId']}", headers=eve.headers)
    paid = await eve.pay({"supplierId": supplier["supplierId"]}, brl("1"))

    assert (seen.status_code, seen.json()["reason"]) == (404, "SUPPLIER_NOT_FOUND")
    assert (paid.status_code, paid.json()["reason"]) == (404, "PAYEE_NOT_FOUND")
    assert await eve.balance() == 100


async def test_a_request_is_one_supplier_and_nonsense_is_none(http: httpx.AsyncClient) -> None:
    ana = await a_customer(http)
    await save_supplier(ana)
    headers = {**ana.headers, "Idempotency-Key": uuid4().hex}
    other = SUPPLIER | {"document": "529.982.247-25"}

    answers = [await http.post("/v1/suppliers", json=other, headers=headers) for _ in range(2)]
    again = await http.post("/v1/suppliers", json=other | {"name": "Outro"}, headers=headers)
    twice = await http.post("/v1/suppliers", json=SUPPLIER, headers=ana.headers)
    wrong = await http.post("/v1/suppliers", json=SUPPLIER | {"pixKey": "11"}, headers=ana.headers)

    assert {answer.status_code for answer in answers} == {201}
    assert answers[1].headers["idempotent-replayed"] == "true"
    assert (again.status_code, again.json()["reason"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert (twice.status_code, twice.json()["reason"]) == (409, "SUPPLIER_EXISTS")
    assert (wrong.status_code, wrong.json()["violations"][0]["field"]) == (400, "pixKey")


async def test_an_error_report_leads_to_its_trace_and_is_answered(
    bank: Bank, http: httpx.AsyncClient
) -> None:
    ana = await a_customer(http, 500)
    failed = await ana.pay({"accountId": str(uuid4())}, brl("1"))
    report = {
        "subject": "O pagamento não foi",
        "description": "Meu CPF é 529.982.247-25.",
        "traceId": trace_of(failed),
        "appVersion": "2.4.1 (android 15)",
        "accountId": ana.account_id,
    }

    async def opened() -> dict[str, Any]:
        answer = await http.post("/v1/tickets", json=report, headers=ana.headers)
        # The account may not have been heard of yet.
        assert answer.status_code == 201 or answer.json()["reason"] == "ACCOUNT_NOT_FOUND"
        ticket: dict[str, Any] = answer.json().get("ticket", {})
        return ticket

    ticket = await eventually(opened, "the ticket")
    ticket_id = ticket["ticketId"]
    assert (ticket["priority"], ticket["status"]) == ("HIGH", "OPEN")
    assert ticket["description"] == "Meu CPF é *****-25."

    staff = await a_member_of_staff(bank, http)
    known = (await http.get(f"/v1/staff/tickets/{ticket_id}", headers=staff)).json()
    assert known["ticket"]["traceId"] == trace_of(failed)
    assert known["traceUrl"] == f"{bank.traces}/trace/{trace_of(failed)}"
    async with httpx.AsyncClient(base_url=bank.traces) as traces:

        async def traced() -> bool:
            got = await traces.get(f"/api/v3/traces/{known['ticket']['traceId']}")
            return got.status_code == 200

        await eventually(traced, "the trace of the report")
        assert (await traces.get(known["traceUrl"])).status_code == 200
    queue = (await http.get("/v1/staff/tickets", headers=staff)).json()
    assert ticket_id in [each["ticket"]["ticketId"] for each in queue["tickets"]]

    answer = {"text": "Vimos.", "resolve": True}
    once = {**staff, "Idempotency-Key": uuid4().hex}
    for _ in range(2):
        path = f"/v1/staff/tickets/{ticket_id}:answer"
        answered = await http.post(path, json=answer, headers=once)
        assert answered.status_code == 200, answered.text

    read = await http.get(f"/v1/tickets/{ticket_id}", headers=ana.headers)
    assert read.json()["ticket"]["status"] == "RESOLVED"
    assert [each["text"] for each in read.json()["ticket"]["answers"]] == ["Vimos."]
    assert read.json()["ticket"]["timeToFirstAnswer"].endswith("s")
    assert await eventually(lambda: told(ana), "the message about the answer") == [ticket_id]
    path = f"/v1/tickets/{ticket_id}:reopen"
    again = await http.post(path, json={"text": "Ainda não."}, headers=ana.headers)
    assert (again.status_code, again.json()["ticket"]["status"]) == (200, "OPEN"), again.text


async def told(customer: Customer) -> list[str]:
    answer = await customer.http.get("/v1/notifications", headers=customer.headers)
    messages = answer.json()["notifications"]
    return [each["ticketId"] for each in messages if each["kind"] == "TICKET_ANSWERED"]


async def test_people_are_told_as_they_want_and_say_what_they_have_read(
    http: httpx.AsyncClient,
) -> None:
    ana, path = await a_customer(http, 500), "/v1/me/notification-preferences"
    wanted = {
        "language": "ENGLISH",
        "kinds": [{"kind": "TRANSFER_FAILED", "inApp": True, "digest": True}],
    }
    off = {"kinds": [{"kind": "NEW_DEVICE", "mail": True}]}
    said = await http.put(path, json={"preferences": wanted}, headers=ana.headers)
    refused = await http.put(path, json={"preferences": off}, headers=ana.headers)
    kept = (await http.get(path, headers=ana.headers)).json()["preferences"]

    assert said.status_code == 200, said.text
    assert (refused.status_code, refused.json()["reason"]) == (400, "SECURITY_MESSAGE")
    assert (kept["language"], kept["digestHour"]) == ("ENGLISH", 18)
    eve = await a_customer(http)
    await ana.pay({"accountId": eve.account_id}, brl("100"))

    async def heard() -> dict[str, Any]:
        listed = (await http.get("/v1/notifications", headers=ana.headers)).json()
        found = [each for each in listed["notifications"] if each["kind"] == "TRANSFER_COMPLETED"]
        return found[0] if found else {}

    message = await eventually(heard, "the message")
    assert message["body"] == "Your transfer of R$1.00 was completed."
    read = f"/v1/notifications/{message['notificationId']}:read"
    assert (await http.post(read, json={}, headers=eve.headers)).status_code == 404
    done = await http.post(read, json={}, headers=ana.headers)
    assert done.json()["notification"]["readAt"]
    assert (await http.post("/v1/notifications:readAll", json={}, headers=ana.headers)).is_success


async def test_a_question_is_its_askers_own(http: httpx.AsyncClient) -> None:
    ana, eve = await asyncio.gather(a_customer(http), a_customer(http))
    question = {"subject": "Limite", "description": "Como mudo o limite?"}
    answer = await http.post("/v1/tickets", json=question, headers=ana.headers)
    ticket_id = answer.json()["ticket"]["ticketId"]

    foreign = await http.get(f"/v1/tickets/{ticket_id}", headers=eve.headers)
    listed = [
        (await http.get("/v1/tickets", headers=each.headers)).json()["tickets"]
        for each in (ana, eve)
    ]

    assert (answer.status_code, answer.json()["ticket"]["priority"]) == (201, "NORMAL")
    assert (foreign.status_code, foreign.json()["reason"]) == (404, "TICKET_NOT_FOUND")
    assert [[each["ticketId"] for each in tickets] for tickets in listed] == [[ticket_id], []]
