"""One hop through the whole mesh against one hop of bare grpc.aio.

    python -m benchmarks.hop [--pairs 9] [--seconds 2] [--callers 32]

Both ask the same method of the same contract, client and server in processes of their own. The mesh
adds all it has: xDS, mutual TLS, deadline, load, authorisation with a user's token, validation,
errors, spans of every call on both sides, which are exported, a log line, metrics. Rounds are
interleaved, so that a noisy machine disturbs both; the result is the median of the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc.aio

from bank.accounts.v1 import accounts_pb2 as pb
from bank.accounts.v1.accounts_pb2_grpc import (
    AccountsServiceServicer,
    AccountsServiceStub,
    add_AccountsServiceServicer_to_server,
)
from mesh.chassis import Chassis, Service
from mesh.identity.join import mint_join_token, trust_bundle_file
from mesh.rpc.context import Outgoing, outgoing
from mesh.run import main as run
from mesh.supervisor.ports import free_port
from mesh.testing.tokens import TokenMint
from meshapi.v1.tokens_pb2 import ListTokenKeysResponse, TokenKey
from meshapi.v1.tokens_pb2_grpc import TokenKeysServiceServicer

REQUEST = pb.GetAccountRequest(account_id="0190a8b4-7f00-7000-8000-000000000001")
RESPONSE = pb.GetAccountResponse(
    account=pb.Account(account_id=REQUEST.account_id, company_id=REQUEST.account_id)
)
READY_S = 30.0

Ask = Callable[[pb.GetAccountRequest], Awaitable[pb.GetAccountResponse]]


class Accounts(AccountsServiceServicer):
    async def GetAccount(self, request: Any, context: Any) -> Any:  # noqa: N802
        return RESPONSE

    ListAccounts = DescribeAccount = PostEntry = PlaceHold = GetAccount
    PostHold = ReleaseHold = ReverseEntry = GetBalance = CloseAccount = VerifyLedger = GetAccount


class Keys(TokenKeysServiceServicer):
    async def ListTokenKeys(self, request: Any, context: Any) -> Any:  # noqa: N802
        key = TokenKey.FromString(bytes.fromhex(os.environ["HOP_KEY"]))
        return ListTokenKeysResponse(keys=[key])


# The four processes.


def mesh_server() -> None:
    def build(chassis: Chassis) -> Service:
        return Service(name="accounts", api=[Accounts(), Keys()])

    run("accounts", build)


def mesh_client() -> None:
    def build(chassis: Chassis) -> Service:
        ask: Any = chassis.stub(AccountsServiceStub, "accounts").GetAccount

        async def work() -> None:
            with outgoing(Outgoing(token=os.environ["HOP_TOKEN"])):
                await obey(ask)

        return Service(name="transfers", background=[work])

    run("transfers", build)


def bare_server() -> None:
    async def serve() -> None:
        server = grpc.aio.server()
        add_AccountsServiceServicer_to_server(Accounts(), server)
        server.add_insecure_port(os.environ["HOP_ADDRESS"])
        await server.start()
        await server.wait_for_termination()

    asyncio.run(serve())


def bare_client() -> None:
    async def ask() -> None:
        async with grpc.aio.insecure_channel(os.environ["HOP_ADDRESS"]) as channel:
            asked: Any = AccountsServiceStub(channel).GetAccount
            await obey(asked)

    asyncio.run(ask())


async def obey(ask: Ask) -> None:
    """Makes rounds of calls as the lines of standard input say, and prints how each went."""
    await until_answered(ask)
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        callers, seconds = line.split()
        print(json.dumps(await round_of(ask, int(callers), float(seconds))), flush=True)
    await asyncio.Event().wait()


async def until_answered(ask: Ask) -> None:
    async with asyncio.timeout(READY_S):
        while True:
            with contextlib.suppress(Exception):
                await ask(REQUEST)
                return
            await asyncio.sleep(0.05)


async def round_of(ask: Ask, callers: int, seconds: float) -> dict[str, float]:
    """Asks from many callers at once; gives the calls, their rate, and the median duration."""
    took: list[float] = []
    began = time.perf_counter()

    async def call() -> None:
        while (before := time.perf_counter()) < began + seconds:
            await ask(REQUEST)
            took.append(time.perf_counter() - before)

    await asyncio.gather(*(call() for _ in range(callers)))
    rate = len(took) / (time.perf_counter() - began)
    return {"calls": len(took), "rate": rate, "p50_ms": statistics.median(took) * 1e3}


# Whoever starts them.


@dataclass
class Child:
    process: subprocess.Popen[str]
    server: subprocess.Popen[str] | None = None

    def cpu_s(self) -> float:
        """The processor time that the process and its server have taken."""
        ticks = 0
        for process in filter(None, (self.process, self.server)):
            stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].split()
            ticks += int(stat[11]) + int(stat[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def say(self, line: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.hear()

    def hear(self) -> str:
        assert self.process.stdout is not None
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"a process has ended with {self.process.wait()}")
        return answer

    def measure(self, callers: int, seconds: float) -> dict[str, float]:
        before = self.cpu_s()
        measured: dict[str, float] = json.loads(self.say(f"{callers} {seconds}"))
        measured["cpu_us"] = (self.cpu_s() - before) / measured["calls"] * 1e6
        return measured


@contextlib.contextmanager
def children(folder: Path) -> Iterator[tuple[Child, Child]]:
    """The clients of both hops, each with its server, the mesh's with its control plane."""
    mint, bare_address = TokenMint(workload="transfers"), f"127.0.0.1:{free_port()}"
    xds, identity, otlp = free_port(), free_port(), free_port()
    authority = folder / "control-plane"
    authority.mkdir()
    common = {
        "BANK_DATA": str(folder),
        "HOP_ADDRESS": bare_address,
        "HOP_KEY": mint.public_key().SerializeToString().hex(),
        "HOP_TOKEN": mint.token("0190a8b4-7f00-7000-8000-000000000002"),
        "MESH_XDS_DATA_DIR": str(authority),
        "MESH_XDS_LISTEN": f"127.0.0.1:{xds}",
        "MESH_XDS_IDENTITY_LISTEN": f"127.0.0.1:{identity}",
        "MESH_CONTROL_PLANE": f"localhost:{xds}",
        "MESH_IDENTITY": f"localhost:{identity}",
        "MESH_TRUST_BUNDLE_FILE": str(trust_bundle_file(authority)),
        "MESH_NATS_URL": "",
        "MESH_OTLP_URL": f"http://127.0.0.1:{otlp}",
    }
    for name in ("accounts", "transfers"):
        token = folder / "identity" / f"{name}.token"
        token.parent.mkdir(exist_ok=True)
        token.write_text(mint_join_token(authority, name, timedelta(minutes=5)))
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> Child:
        log = (folder / f"{len(started)}.log").open("w")
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **common},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        log.close()
        started.append(process)
        return Child(process)

    try:
        start("mesh.xds")
        start("benchmarks.hop", "--part", "sink", "--port", str(otlp))
        clients = []
        for kind in ("bare", "mesh"):
            server = start("benchmarks.hop", "--part", f"{kind}_server")
            clients.append(start("benchmarks.hop", "--part", f"{kind}_client"))
            clients[-1].server = server.process
        for client in clients:
            client.hear()
        yield clients[0], clients[1]
    finally:
        for process in started:
            process.send_signal(signal.SIGKILL)
            process.communicate()


def sink(port: int) -> None:
    """Takes spans as a collector would, and forgets them."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length or 0))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(take, "127.0.0.1", port)
        await server.serve_forever()

    asyncio.run(serve())


def compare(pairs: int, seconds: float, callers: int) -> None:
    """Prints each pair, and what comes of all of them."""
    with tempfile.TemporaryDirectory(prefix="hop-") as folder, children(Path(folder)) as clients:
        for client in clients:
            client.measure(callers, 1.0)
        rates, costs, added = [], [], []
        for number in range(pairs):
            # Whoever goes first changes from pair to pair.
            order = (0, 1) if number % 2 else (1, 0)
            busy = {kind: clients[kind].measure(callers, seconds) for kind in order}
            alone = {kind: clients[kind].measure(1, seconds / 4)["p50_ms"] for kind in order}
            bare, mesh = busy[0], busy[1]
            rates.append(mesh["rate"] / bare["rate"])
            costs.append(bare["cpu_us"] / mesh["cpu_us"])
            added.append(alone[1] - alone[0])
            print(
                f"pair {number + 1}: {bare['rate']:,.0f}/s bare, {mesh['rate']:,.0f}/s mesh,"
                f" ratio {rates[-1]:.2f}; processor {bare['cpu_us']:.0f} and"
                f" {mesh['cpu_us']:.0f} us a call; alone {alone[0]:.2f} and {alone[1]:.2f} ms",
                flush=True,
            )
    print(f"rate, mesh to bare, {callers} callers: {spread(rates)}")
    print(f"processor time, bare to mesh: {spread(costs)}")
    print(f"added to the median of a lone caller, ms: {spread(added)}")


def spread(values: list[float]) -> str:
    """Writes the median, and the least and the most."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--part", default="", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    parts = {
        "mesh_server": mesh_server,
        "mesh_client": mesh_client,
        "bare_server": bare_server,
        "bare_client": bare_client,
        "sink": lambda: sink(given.port),
    }
    if given.part:
        parts[given.part]()
    else:
        compare(given.pairs, given.seconds, given.callers)


if __name__ == "__main__":
    main()
