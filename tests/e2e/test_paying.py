"""The main job: a company signs up, receives, pays, and reads its statement; one trace shows it."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import httpx2 as httpx

from .bank import Bank, Customer, a_customer, brl, eventually


def trace_of(answer: httpx.Response) -> str:
    return answer.headers["traceresponse"].split("-")[1]


async def test_a_payment_moves_money_once_and_is_on_both_statements(
    http: httpx.AsyncClient,
) -> None:
    payer, payee = await asyncio.gather(a_customer(http, 10_000), a_customer(http))

    answer = await payer.pay({"accountId": payee.account_id}, brl("2500"), description="Aluguel")

    assert answer.status_code == 201, answer.text
    transfer = answer.json()["transfer"]
    assert (transfer["status"], transfer["failureReason"]) == ("COMPLETED", "")
    assert await payer.balance() == 7_500
    assert await payee.balance() == 2_500
    await statement_reaches(payer, 7_500)
    await statement_reaches(payee, 2_500)
    [line] = await payee.lines()
    assert line["transferId"] == transfer["transferId"]
    assert line["amount"] == brl("2500")
    assert line["balanceAfter"] == brl("2500")
    assert line["counterparty"] == payer.account_id
    assert line["description"] == "Aluguel"


async def statement_reaches(customer: Customer, minor_units: int) -> None:
    async def reached() -> bool:
        lines = await customer.lines()
        return bool(lines) and lines[-1]["balanceAfter"]["minorUnits"] == str(minor_units)

    await eventually(reached, "the statement")


async def test_a_statement_waits_for_the_version_it_is_asked_for(http: httpx.AsyncClient) -> None:
    payer = await a_customer(http, 1_000)
    [account] = await payer.accounts()

    statement = await payer.statement(after=account["version"])

    assert int(statement["asOfVersion"]) >= int(account["version"])
    assert statement["entries"][0]["balanceAfter"] == brl("1000")


async def test_a_payment_leaves_by_pix(http: httpx.AsyncClient) -> None:
    payer = await a_customer(http, 1_000)

    answer = await payer.pay({"pixKey": "fornecedor@example.com"}, brl("400"))
    transfer_id = answer.json()["transfer"]["transferId"]

    async def completed() -> bool:
        return bool((await payer.transfer(transfer_id))["status"] == "COMPLETED")

    await eventually(completed, "the rail")
    assert (await payer.transfer(transfer_id))["endToEndId"].startswith("E")
    assert await payer.balance() == 600


async def test_a_refused_pix_gives_the_money_back(http: httpx.AsyncClient) -> None:
    payer = await a_customer(http, 1_000)

    answer = await payer.pay({"pixKey": "reject-AC03@sandbox.example"}, brl("400"))
    transfer_id = answer.json()["transfer"]["transferId"]

    async def failed() -> bool:
        return bool((await payer.transfer(transfer_id))["status"] == "FAILED")

    await eventually(failed, "the rail's refusal")
    assert (await payer.transfer(transfer_id))["failureReason"] == "AC03"
    [account] = await payer.accounts()
    assert account["balance"] == account["available"] == brl("1000")


async def test_more_than_there_is_is_not_paid(http: httpx.AsyncClient) -> None:
    payer, payee = await asyncio.gather(a_customer(http, 100), a_customer(http))

    answer = await payer.pay({"accountId": payee.account_id}, brl("101"))

    assert answer.json()["transfer"]["status"] == "FAILED"
    assert answer.json()["transfer"]["failureReason"] == "INSUFFICIENT_FUNDS"
    assert (await payer.balance(), await payee.balance()) == (100, 0)


async def test_fifty_equal_requests_move_money_once(http: httpx.AsyncClient) -> None:
    payer, payee = await asyncio.gather(a_customer(http, 10_000), a_customer(http))
    key = uuid4().hex

    answers = await asyncio.gather(
        *(payer.pay({"accountId": payee.account_id}, brl("700"), key) for _ in range(50))
    )

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert await payee.balance() == 700
    replayed = [answer.headers.get("idempotent-replayed") for answer in answers]
    assert replayed.count("true") == 49

    other = await payer.pay({"accountId": payee.account_id}, brl("701"), key)
    assert (other.status_code, other.json()["reason"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    body = {"payerAccountId": payer.account_id, "payee": {"accountId": payee.account_id}}
    keyless = await http.post(
        "/v1/transfers", json={**body, "amount": brl("1")}, headers=payer.headers
    )
    assert (keyless.status_code, keyless.json()["reason"]) == (400, "IDEMPOTENCY_KEY_MISSING")
    assert await payee.balance() == 700


async def test_a_key_belongs_to_its_user(http: httpx.AsyncClient) -> None:
    ana, bob = await asyncio.gather(a_customer(http, 1_000), a_customer(http, 1_000))
    key = uuid4().hex

    first = await ana.pay({"accountId": bob.account_id}, brl("10"), key)
    second = await bob.pay({"accountId": ana.account_id}, brl("20"), key)

    assert first.json()["transfer"]["transferId"] != second.json()["transfer"]["transferId"]
    assert "idempotent-replayed" not in second.headers


async def test_a_statement_that_is_given_the_token_of_a_payment_includes_it_or_says_not_yet(
    http: httpx.AsyncClient,
) -> None:
    payer, payee = await asyncio.gather(a_customer(http, 1_000), a_customer(http))
    path = f"/v1/accounts/{payer.account_id}/statement"
    fresh = 0
    for _ in range(10):
        paid = await payer.pay({"accountId": payee.account_id}, brl("7"))
        assert paid.json()["transfer"]["status"] == "COMPLETED"
        token = {"Consistency-Token": paid.headers["consistency-token"]}
        read = await http.get(path, headers={**payer.headers, **token})
        if read.status_code == 200:
            newest = read.json()["entries"][0]["transferId"]
            assert newest == paid.json()["transfer"]["transferId"]
            fresh += 1
        else:
            assert (read.status_code, read.json()["reason"]) == (202, "READ_IS_BEHIND")
            assert read.headers["retry-after"] == "1"
    assert fresh > 0
    after = {"after": token["Consistency-Token"]}
    listed = await http.get("/v1/transfers", headers=payer.headers, params=after)
    assert listed.status_code == 200


async def test_people_are_told(http: httpx.AsyncClient) -> None:
    payer, payee = await asyncio.gather(a_customer(http, 1_000), a_customer(http))
    await payer.pay({"accountId": payee.account_id}, brl("123456"[:3]))

    async def told() -> list[str]:
        answer = await http.get("/v1/notifications", headers=payer.headers)
        kinds = [message["kind"] for message in answer.json()["notifications"]]
        return kinds if "TRANSFER_COMPLETED" in kinds else []

    kinds = await eventually(told, "the message about the transfer")
    assert kinds.count("TRANSFER_COMPLETED") == 1


async def test_one_trace_holds_the_payment_from_the_edge_to_the_last_reader(
    bank: Bank, http: httpx.AsyncClient
) -> None:
    payer, payee = await asyncio.gather(a_customer(http, 1_000), a_customer(http))
    answer = await payer.pay({"accountId": payee.account_id}, brl("100"))
    trace_id = trace_of(answer)
    expected = {"bff", "transfers", "accounts", "statements", "notifications"}

    async def whole() -> list[dict[str, Any]]:
        async with httpx.AsyncClient(base_url=bank.traces) as traces:
            got = await traces.get(f"/api/v3/traces/{trace_id}")
        spans = flatten(got.json()) if got.status_code == 200 else []
        is_whole = {span["service"] for span in spans} >= expected and not orphans(spans)
        return spans if is_whole else []

    spans = await eventually(whole, "the whole trace, without an orphan")
    assert len([span for span in spans if not span.get("parentSpanId")]) == 1
    kinds = {(span["service"], span["kind"]) for span in spans}
    assert kinds >= {
        ("bff", 2), ("transfers", 2), ("accounts", 2),
        ("accounts", 4), ("transfers", 4), ("statements", 5), ("notifications", 5),
    }  # fmt: skip
    with_database = {s["service"] for s in spans if "db.system.name" in s["attributes"]}
    assert with_database >= {"transfers", "accounts"}


def orphans(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The spans whose parent is not there, or not yet: processes export on their own."""
    ids = {span["spanId"] for span in spans}
    return [s for s in spans if s.get("parentSpanId") and s["parentSpanId"] not in ids]


def flatten(document: dict[str, Any]) -> list[dict[str, Any]]:
    spans: list[dict[str, Any]] = []
    for resource in document["result"]["resourceSpans"]:
        service = attributes(resource["resource"])["service.name"]
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                spans.append({**span, "service": service, "attributes": attributes(span)})
    return spans


def attributes(holder: dict[str, Any]) -> dict[str, Any]:
    return {
        pair["key"]: next(iter(pair["value"].values())) for pair in holder.get("attributes", [])
    }
