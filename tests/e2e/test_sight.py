"""What an operator sees: the commands that look, against the whole bank with money moving."""

from __future__ import annotations

import asyncio
import json
import re
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from .bank import ROOT, Bank, a_customer, brl, command, environment, eventually

PATIENCE_S = 60.0


async def run(data: Path, *words: str) -> tuple[int, str, str]:
    """Runs a command; gives its exit code, and what it wrote to standard output and error."""
    process = await asyncio.create_subprocess_exec(
        *command(*words), env=environment(data), cwd=ROOT, stdout=PIPE, stderr=PIPE
    )
    out, error = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    return process.returncode or 0, out.decode(), error.decode()


async def read(bank: Bank, *words: str) -> Any:
    code, out, error = await run(bank.data, *words, "--output", "json")
    assert code == 0, out + error
    return json.loads(out)


@asynccontextmanager
async def payments(http: httpx.AsyncClient) -> AsyncIterator[None]:
    """Money moves while the block runs."""
    payer, payee = await a_customer(http, 100_000), await a_customer(http)

    async def pay() -> None:
        while True:
            answer = await payer.pay({"accountId": payee.account_id}, brl(1))
            assert answer.status_code == 201, answer.text

    paying = asyncio.create_task(pay())
    try:
        yield
        assert not paying.done(), await paying
    finally:
        paying.cancel()
        await asyncio.gather(paying, return_exceptions=True)


async def test_stat_and_routes_tell_how_services_and_methods_do(
    bank: Bank, http: httpx.AsyncClient
) -> None:
    async with payments(http):
        rows, routes, only = await asyncio.gather(
            read(bank, "stat", "--window", "1"),
            read(bank, "routes", "transfers", "--window", "1"),
            run(bank.data, "stat", "accounts", "--window", "0.5"),
        )

    by_service = {row["service"]: row for row in rows}
    assert set(by_service) == {entry["name"] for entry in bank.status["services"]}
    for name in ("accounts", "transfers", "bff"):
        row = by_service[name]
        assert row["calls"] > 0
        assert row["rps"] > 0
        assert row["success"] == 1.0
        assert 0 < row["p50Ms"] <= row["p95Ms"] <= row["p99Ms"]
    accounts = by_service["accounts"]
    assert (accounts["ready"], accounts["instances"]) == (1, 1)
    assert accounts["version"] == bank.status["services"][0]["version"]
    assert accounts["mtls"] is True
    assert accounts["retries"] == 0.0
    assert accounts["ejected"] == []
    assert by_service["transfers"]["xds"] == "SYNCED"
    assert by_service["bff"]["mtls"] is None

    by_method = {route["method"].rpartition("/")[2]: route for route in routes}
    create = by_method["CreateTransfer"]
    assert create["calls"] > 0
    assert (create["deadlineS"], create["access"]) == (5.0, "USER")
    assert by_method["GetTransfer"]["retriable"] is True
    assert by_method["GetTransfer"]["success"] is None

    code, out, _ = only
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["SERVICE", "accounts"]


async def test_top_and_the_map_show_who_calls_whom(bank: Bank, http: httpx.AsyncClient) -> None:
    async with payments(http):
        frame = await read(bank, "top", "--once")
        code, table, _ = await run(bank.data, "top", "--once", "--every", "0.5")

        async def is_mapped() -> bool:
            asked = await http.get(f"{bank.status['endpoints']['dashboard']}/api/edges")
            edges = {(edge["caller"], edge["service"]): edge for edge in asked.json()["edges"]}
            post = edges.get(("transfers", "accounts"))
            return post is not None and post["succeeded"] > 0 and post["failed"] == 0

        await eventually(is_mapped, "the load reports")

    post = "bank.accounts.v1.AccountsService/PostEntry"
    edges = {(row["from"], row["to"], row["method"]): row for row in frame}
    assert edges["transfers", "accounts", post]["calls"] > 0
    assert edges["outside", "bff", "POST /v1/transfers"]["success"] == 1.0
    assert frame == sorted(frame, key=lambda row: -row["calls"])
    assert code == 0
    assert "AccountsService/PostEntry" in table


async def test_tap_shows_a_call_as_it_happens(bank: Bank, http: httpx.AsyncClient) -> None:
    wanted = ("tap", "accounts", "--method", "PostEntry", "--from", "transfers", "--limit", "1")
    async with payments(http):
        [call], (code, line, _), refused = await asyncio.gather(
            lines(bank, *wanted),
            run(bank.data, *wanted),
            lines(bank, "tap", "--method", "CreateT*", "--status", "!OK"),
        )

    assert (call["from"], call["to"], call["status"]) == ("transfers", "accounts", "OK")
    assert call["method"] == "bank.accounts.v1.AccountsService/PostEntry"
    assert call["ms"] > 0
    assert re.fullmatch("[0-9a-f]{32}", call["trace"])
    assert code == 0
    assert "transfers → accounts" in line
    assert refused == []


async def lines(bank: Bank, *words: str) -> list[dict[str, Any]]:
    code, out, error = await run(bank.data, *words, "--for", "2", "--output", "json")
    assert code == 0, error
    return [json.loads(line) for line in out.splitlines()]


async def test_every_client_has_what_it_should(bank: Bank) -> None:
    async def all_are_synced() -> Any:
        found = await read(bank, "mesh", "clients")
        # An operator's own call may be on its way.
        return found if all(each["state"] in ("SYNCED", "-") for each in found) else None

    clients = await eventually(all_are_synced, "the clients to follow")
    (transfers,) = [
        each
        for each in clients
        if each["node"] == "transfers-1" and each["types"]["lds"]["names"] == ["accounts"]
    ]
    assert transfers["workload"] == "transfers"
    assert "C-core" in transfers["agent"]
    for type in ("lds", "rds", "cds", "eds"):
        followed = transfers["types"][type]
        assert followed["state"] == "SYNCED"
        assert followed["versionSent"] == followed["versionAcknowledged"] != ""

    dump, diff, table = await asyncio.gather(
        read(bank, "mesh", "dump", "transfers-1", "--type", "cds"),
        read(bank, "mesh", "diff", "transfers-1"),
        run(bank.data, "mesh", "diff", "transfers-1"),
    )
    accounts = next(each for each in dump if each["name"] == "accounts")
    assert accounts["resource"]["lrsServer"] == {"self": {}}
    assert accounts["versionHeld"] == accounts["versionCurrent"]
    assert diff == {"source": "client", "differences": []}
    assert table[0] == 0
    assert table[1].startswith("transfers-1 has what it should")


async def test_a_healthy_bank_passes_every_check(bank: Bank) -> None:
    found = await read(bank, "check")

    assert {each["group"] for each in found} == {
        "install",
        "mesh",
        "events",
        "telemetry",
        "bank",
    }
    assert {each["check"] for each in found} >= {
        "xds-protos",
        "addresses",
        "clock",
        "processes",
        "control plane",
        "clients",
        "certificates",
        "roots",
        "streams",
        "consumers",
        "projections",
        "outbox",
        "dead letters",
        "trace store",
        "spans",
        "log lines",
        "ledger",
    }
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs/sight.md").read_text(), re.MULTILINE)
    assert {each["check"] for each in found} <= set(headings)

    code, table, _ = await run(bank.data, "check")
    assert code == 0
    assert "  ✓ certificates " in table
    assert table.splitlines()[-1].startswith("0 errors, ")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["stat", "loans"], 2, "there is no service loans"),
        (["tap", "loans"], 2, "there is no service loans"),
        (["mesh", "dump", "transfers-1", "--type", "sds"], 2, "there is no type sds"),
        (["mesh", "dump", "nobody"], 1, "CLIENT_UNKNOWN"),
    ],
)
async def test_what_there_is_not_is_told_in_three_lines(
    bank: Bank, words: list[str], code: int, says: str
) -> None:
    ended, _, error = await run(bank.data, *words)

    assert ended == code
    assert says in error
    assert [line.split(":")[0].strip() for line in error.splitlines()] == ["error", "why", "try"]


async def test_without_a_bank_there_is_nothing_to_see(tmp_path: Path) -> None:
    for words in (["stat"], ["check"], ["mesh", "clients"]):
        code, _, error = await run(tmp_path, *words)

        assert (code, error.splitlines()[0]) == (3, "error: the bank is not running")
