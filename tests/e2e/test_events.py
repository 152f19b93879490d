"""The events of the running bank, as those who run it see and mend them: by the command."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import Any
from uuid import uuid4

import httpx2 as httpx
import pytest

from mesh.events.envelope import seal
from mesh.events.jetstream import Jetstream
from mesh.events.view import MASK
from mesh.supervisor.nats import nats_url

from .bank import ROOT, Bank, a_customer, brl, command, environment, eventually

SUBSCRIPTION = "notifications-notify"


async def typed(bank: Bank, *words: str, code: int = 0) -> str:
    """Types a command, and gives what it prints."""
    done = await asyncio.to_thread(
        subprocess.run,
        command("events", *words),
        env=environment(bank.data),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == code, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


async def listed(bank: Bank) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await typed(bank, "ls", "--output", "json"))
    return found


async def test_events_can_be_seen_and_what_is_personal_is_masked(
    bank: Bank, http: httpx.AsyncClient
) -> None:
    customer = await a_customer(http, 1_000)

    async def is_quiet() -> bool:
        found = await listed(bank)
        lags = [each["lag"] for each in found["subscriptions"]]
        return not any(lags) and not any(each["unsent"] for each in found["outboxes"])

    await eventually(is_quiet, "every event to be heard")
    found = await listed(bank)
    assert {"ACCOUNTS", "TRANSFERS", "USERS", "PIX"} <= {s["stream"] for s in found["streams"]}
    lines = [each for each in found["subscriptions"] if each["subscription"] == "statements-lines"]
    assert {each["kind"] for each in lines} == {"projection"}

    mine = json.loads(await typed(bank, "consumers", "statements", "--output", "json"))
    assert {each["subscription"] for each in mine["subscriptions"]} == {"statements-lines"}
    await typed(bank, "lag", "--max", "1000")

    subject = f"bank.accounts.v1.EntryPosted.{customer.account_id}"
    told = json.loads(await typed(bank, "tail", subject, "-n", "1", "--output", "json"))
    assert told["data"]["amount"]["minorUnits"] == 1_000
    assert told["data"]["counterparty"] == MASK
    assert len(told["traceId"]) == 32
    shown = json.loads(await typed(bank, "show", told["stream"], str(told["sequence"])))
    assert (shown["id"], shown["data"]) == (told["id"], told["data"])


async def test_statements_are_rebuilt_while_payments_go_on_and_equal_the_ledger(
    bank: Bank, http: httpx.AsyncClient
) -> None:
    payer, payee = await asyncio.gather(a_customer(http, 100_000), a_customer(http, 0))
    paid = 0
    seen: list[int] = []

    async def pay() -> None:
        nonlocal paid
        answer = await payer.pay({"accountId": payee.account_id}, brl("7"), uuid4().hex)
        assert answer.status_code == 201, answer.text
        paid += 1

    async def look() -> None:
        """No line may be missing that was there, at any time."""
        page = await payee.statement(pageSize=100)
        lines = page["entries"]
        versions = [int(each["version"]) for each in lines]
        assert versions == list(range(len(lines), 0, -1))
        assert all(each["amount"]["minorUnits"] == "7" for each in lines)
        seen.append(len(lines))

    for _ in range(10):
        await pay()
    rebuilding = asyncio.create_task(typed(bank, "rebuild", "statements"))
    while not rebuilding.done() and paid < 90:
        await asyncio.gather(pay(), look())
    printed = await rebuilding
    await pay()

    async def is_told() -> bool:
        return len(await payee.lines()) == paid

    await eventually(is_told, "every payment on the statement")
    assert "statements-lines: rebuilt from" in printed
    assert seen
    assert seen == sorted(seen)
    for customer in (payer, payee):
        lines = await customer.lines()
        assert sum(int(each["amount"]["minorUnits"]) for each in lines) == await customer.balance()


@pytest.mark.faults
async def test_a_dead_letter_is_shown_mended_and_applied_by_the_command(
    bank: Bank, http: httpx.AsyncClient
) -> None:
    from bank.pix.v1.events_pb2 import PixReceived

    customer = await a_customer(http, 0)
    key = str(uuid4())
    # Nothing but a reaction hears it: a projection would stand still until it is mended.
    envelope = seal(PixReceived(deposit_id=key), source="pix")
    url = nats_url(bank.data, bank.status["endpoints"]["nats"], "pix")
    roots = bank.data / "control-plane" / "authority" / "bundle.pem"
    jetstream = Jetstream(url, service="pix", roots=roots)
    await jetstream.start()
    try:
        connection = await jetstream.connection()
        # It says it is an event, and is not.
        await connection.request(envelope.subject, b"\xff\xff", headers=dict(envelope.headers))
    finally:
        await jetstream.stop()

    async def letters() -> Any:
        return json.loads(await typed(bank, "dlq", "ls", "--key", key, "--output", "json"))

    [letter] = await eventually(letters, "the dead letter", 60)
    assert (letter["attempts"], letter["type"]) == (10, "PixReceived")
    event_id = letter["event"]
    assert "1 failed again" in await typed(
        bank, "dlq", "redrive", SUBSCRIPTION, "--key", key, code=1
    )

    fields = {
        "depositId": key,
        "accountId": customer.account_id,
        "amount": {"minorUnits": "5", "currencyCode": "BRL"},
    }
    words = ("dlq", "edit", SUBSCRIPTION, event_id, json.dumps(fields), "--note", "torn bytes")
    await typed(bank, *words)
    shown = json.loads(await typed(bank, "dlq", "show", SUBSCRIPTION, event_id))
    assert shown["data"]["accountId"] == customer.account_id
    assert [(each["action"], each["note"]) for each in shown["history"]] == [
        ("edited", "torn bytes")
    ]
    printed = await typed(bank, "dlq", "redrive", SUBSCRIPTION, "--key", key)
    assert printed.startswith("1 applied, 0 failed again")
    assert await letters() == []


async def test_a_subscription_is_paused_and_goes_on_and_streams_are_whole(bank: Bank) -> None:
    await typed(bank, "pause", SUBSCRIPTION)
    try:
        found = [
            e for e in (await listed(bank))["subscriptions"] if e["subscription"] == SUBSCRIPTION
        ]
        assert {each["problem"] for each in found} == {"paused"}
    finally:
        assert "4 at once" in await typed(bank, "resume", SUBSCRIPTION)
    assert "ACCOUNTS" in await typed(bank, "reconcile", "accounts", "--check")
    await typed(bank, "pause", "nothing-at-all", code=2)
