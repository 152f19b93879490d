"""A statement leaves the bank: as a file for others' programs, and line by line as it grows."""

from __future__ import annotations

import io
import json

import httpx2 as httpx
from ofxtools.Parser import OFXTree

from .bank import Bank, a_customer


async def test_files_add_up_to_the_statement(http: httpx.AsyncClient) -> None:
    payer = await a_customer(http, 10_000)
    path = f"/v1/accounts/{payer.account_id}/statement"

    ofx = await http.get(f"{path}:export", params={"format": "OFX"}, headers=payer.headers)
    csv = await http.get(f"{path}:export", params={"format": "CSV"}, headers=payer.headers)
    pdf = await http.get(f"{path}:export", params={"format": "PDF"}, headers=payer.headers)
    other = await http.get(f"{path}:export", params={"format": "XLS"}, headers=payer.headers)
    months = await http.get(f"{path}/months", headers=payer.headers)

    assert {answer.status_code for answer in (ofx, csv, pdf, months)} == {200}
    tree = OFXTree()
    tree.parse(io.BytesIO(ofx.content))
    [read] = tree.convert().statements
    assert (len(read.transactions), int(read.ledgerbal.balamt * 100)) == (1, 10_000)
    assert "100,00" in csv.text
    assert pdf.content.startswith(b"%PDF")
    assert pdf.headers["content-disposition"].endswith('.pdf"')
    assert other.status_code == 400
    [month, *_] = months.json()["months"]
    assert (month["closingBalance"]["minorUnits"], month["closed"]) == ("10000", False)


async def test_a_new_line_is_told_to_who_listens(bank: Bank, http: httpx.AsyncClient) -> None:
    payer, payee = await a_customer(http, 5_000), await a_customer(http, 1)

    async with (
        bank.client() as listening,
        listening.stream("GET", "/v1/events", headers=payee.headers) as told,
    ):
        assert told.headers["content-type"].startswith("text/event-stream")
        lines = told.aiter_lines()
        assert await anext(lines) == "retry: 1000"
        paid = await payer.pay(
            {"accountId": payee.account_id}, {"minorUnits": 700, "currencyCode": "BRL"}
        )
        assert paid.status_code == 201
        async for line in lines:
            if line.startswith("data: "):
                event = json.loads(line.removeprefix("data: "))
                break

    assert event["accountId"] == payee.account_id
    assert event["entry"]["amount"]["minorUnits"] == "700"
