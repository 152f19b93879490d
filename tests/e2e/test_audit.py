"""Who has changed what, asked of the whole bank by an operator."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from .bank import ROOT, Bank, a_customer, brl, command, environment


def audit(bank: Bank, *words: str) -> tuple[int, Any]:
    done = subprocess.run(
        command("audit", *words, "--output", "json"),
        env=environment(bank.data),
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


async def test_what_a_customer_did_is_on_record_and_cannot_be_taken_back(
    bank: Bank, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    ana, bia = await a_customer(http, 10_00), await a_customer(http)
    await ana.pay({"accountId": bia.account_id}, brl(3_00), "key-of-the-audit")

    _, found = await asyncio.to_thread(audit, bank, "search", "--method", "CreateTransfer")
    record = found[-1]
    assert (record["service"], record["workload"], record["outcome"]) == (
        "transfers",
        "bff",
        "done",
    )
    assert record["subjectId"]
    assert record["companyId"]
    assert len(record["traceId"]) == 32

    code, whole = await asyncio.to_thread(audit, bank, "verify")
    assert (code, [name for name in whole if whole[name]["flaws"]]) == (0, [])

    # On a copy of the heads: a later head than there is means that the end was cut off.
    heads = tmp_path / "heads.json"
    heads.write_text(json.dumps({"transfers": {"number": 1_000_000, "seal": "00" * 32}}))
    code, cut = await asyncio.to_thread(audit, bank, "verify", "transfers", "--heads", str(heads))
    assert (code, cut["transfers"]["flaws"][0]["what"][:19]) == (1, "the end was cut off")


async def test_the_database_itself_refuses_to_forget(bank: Bank, http: httpx.AsyncClient) -> None:
    await a_customer(http)

    users = bank.data / "users" / "users.db"
    with (
        closing(sqlite3.connect(users)) as database,
        pytest.raises(sqlite3.IntegrityError, match="audit_append_only"),
    ):
        database.execute("DELETE FROM audit")
