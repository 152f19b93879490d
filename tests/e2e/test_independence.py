"""A service stands by itself: it lives with nothing else up, and is not missed when it is down."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2 as httpx

from .bank import ROOT, Bank, a_customer, brl, command, environment, eventually


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_service_alone_is_live_and_says_what_it_misses(tmp_path: Path) -> None:
    port, nowhere = free_port(), free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.transfers",
        env={
            **environment(tmp_path),
            "MESH_ADMIN_LISTEN": f"127.0.0.1:{port}",
            "MESH_NATS_URL": f"nats://127.0.0.1:{nowhere}",
            "MESH_CONTROL_PLANE": f"localhost:{nowhere}",
            "MESH_IDENTITY": f"localhost:{nowhere}",
            "MESH_OTLP_URL": f"http://127.0.0.1:{nowhere}",
        },
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as admin:

            async def live() -> bool:
                try:
                    return (await admin.get("/livez")).status_code == 200
                except httpx.TransportError:
                    return False

            await eventually(live, "the service to be live")

            async def missing() -> list[str]:
                answer = await admin.get("/readyz")
                assert answer.status_code == 503
                missed = " ".join(answer.json()["missing"])
                return answer.json()["missing"] if "nats" in missed else []

            told = " ".join(await eventually(missing, "what the service misses"))
            assert "identity" in told
    finally:
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0


def scale(bank: Bank, service: str, count: int) -> None:
    subprocess.run(
        command("scale", f"{service}={count}"),
        env=environment(bank.data),
        cwd=ROOT,
        check=True,
        timeout=60,
        capture_output=True,
    )


async def test_payments_go_on_without_statements_and_its_lines_are_complete_later(
    bank: Bank, http: httpx.AsyncClient
) -> None:
    payer, payee = await asyncio.gather(a_customer(http, 1_000), a_customer(http))
    await asyncio.to_thread(scale, bank, "statements", 0)
    try:
        for _ in range(10):
            answer = await payer.pay({"accountId": payee.account_id}, brl("10"))
            assert answer.json()["transfer"]["status"] == "COMPLETED"
        away = await http.get(f"/v1/accounts/{payer.account_id}/statement", headers=payer.headers)
        assert away.status_code == 503
        assert json.loads(away.text)["reason"]
    finally:
        await asyncio.to_thread(scale, bank, "statements", 1)

    async def complete() -> bool:
        answer = await http.get(f"/v1/accounts/{payee.account_id}/statement", headers=payee.headers)
        return answer.status_code == 200 and len(answer.json()["entries"]) == 10

    await eventually(complete, "the statement to catch up")
