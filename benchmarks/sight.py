"""What traces cost the path of payments: all of them, and those that no collector takes.

    python -m benchmarks.sight [none|stuck|lost ...] [--rounds 9] [--seconds 3] [--callers 8]

Starts the whole bank twice, on fresh data: one records and sends every span; the other records none
(`none`), sends to a collector that takes connections and never answers (`stuck`), or to an address
from which no packet comes back (`lost`). They are loaded in turns, so that a noisy machine disturbs
both; the results are medians of the ratios. Then each is told to end, and the time that takes is
printed.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import statistics
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import uvloop

from benchmarks.payments import Account, customers, load, percentile
from mesh.supervisor.embedded import Embedded
from mesh.supervisor.ports import Ports
from mesh.supervisor.process import Launch, Program
from services.__main__ import BANK

OTHERS = ("none", "stuck", "lost")
# What a payment goes through, from REST to completed and to its statement.
PATH = ("bff", "transfers", "accounts", "users", "statements", "notifications", "pix")


class Seen(Embedded):
    """A bank whose services are given more settings."""

    more: Mapping[str, str] = {}

    def _program(self, service: str, version: str) -> Program:
        program = super()._program(service, version)

        def launch(id: str) -> Launch:
            found = program.launch(id)
            return replace(found, env={**found.env, **self.more})

        return replace(program, launch=launch)


@dataclass
class Bank:
    """A bank that runs, and what was measured of it."""

    embedded: Seen
    crowd: list[Account]
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    medians: list[float] = field(default_factory=list)
    tails: list[float] = field(default_factory=list)

    def pids(self) -> Iterator[int]:
        for name in PATH:
            yield from (each.pid for each in self.embedded.instances[name] if each.pid)

    def cpu_s(self) -> float:
        """The processor time of the services on the path."""
        ticks = 0
        for pid in self.pids():
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
            ticks += int(stat[11]) + int(stat[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        """The most that one of them holds."""
        found = (Path(f"/proc/{pid}/status").read_text() for pid in self.pids())
        return max(int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) for text in found) / 1024

    def dropped(self) -> int:
        """The spans that they say they have dropped."""
        total = 0.0
        for name in PATH:
            for each in self.embedded.instances[name]:
                url = f"http://127.0.0.1:{each.admin}/metrics"
                with urllib.request.urlopen(url, timeout=10) as response:
                    text = response.read().decode()
                total += sum(map(float, re.findall(r"^mesh_spans_dropped_total (\S+)", text, re.M)))
        return round(total)

    async def measure(self, callers: int, seconds: float) -> None:
        before = self.cpu_s()
        took = await load(self.embedded.endpoints.rest, self.crowd, callers, seconds)
        self.costs.append((self.cpu_s() - before) / len(took))
        self.rates.append(len(took) / seconds)
        self.medians.append(percentile(took, 50))
        self.tails.append(percentile(took, 99))


@asynccontextmanager
async def bank(more: Mapping[str, str]) -> AsyncIterator[Bank]:
    with tempfile.TemporaryDirectory(prefix="bank-sight-") as data:
        embedded = Seen(BANK, Path(data), Ports.free())
        embedded.more = more
        await embedded.up()
        try:
            yield Bank(embedded, await customers(embedded.endpoints.rest))
        finally:
            await embedded.down()


@contextmanager
def silent() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def deaf() -> Iterator[str]:
    """An address that drops the first packet of whoever would connect: its queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(address)
        yield f"http://127.0.0.1:{address[1]}"
        for each in waiting:
            each.close()


async def compare(other: str, rounds: int, seconds: float, callers: int) -> None:
    async with AsyncExitStack() as stack:
        more = {"MESH_TRACE_RATIO": "0"}
        if other != "none":
            hole = silent() if other == "stuck" else deaf()
            more = {"MESH_OTLP_URL": stack.enter_context(hole)}
        every = await stack.enter_async_context(bank({}))
        changed = await stack.enter_async_context(bank(more))
        for each in (every, changed):
            await load(each.embedded.endpoints.rest, each.crowd, callers, 2)
        for number in range(rounds):
            # Whoever goes first changes from round to round.
            for each in (every, changed) if number % 2 else (changed, every):
                await each.measure(callers, seconds)
            print(
                f"{every.rates[-1]:.0f}/s with every span, {changed.rates[-1]:.0f}/s {other};"
                f" load average {os.getloadavg()[0]:.1f}",
                flush=True,
            )
        report(every, changed, other)
        for name, each in (("every span", every), (other, changed)):
            told = f"{name}: at most {each.memory_mb():.0f} MB, {each.dropped()} spans dropped"
            began = time.perf_counter()
            await each.embedded.down()
            print(f"{told}, down in {time.perf_counter() - began:.1f} s", flush=True)


def report(every: Bank, changed: Bank, other: str) -> None:
    for title, of, to in (
        ("processor time of a payment in the services", every.costs, changed.costs),
        ("payments a second", every.rates, changed.rates),
        ("p50", every.medians, changed.medians),
        ("p99", every.tails, changed.tails),
    ):
        # Of tracing itself the ratio is to none; of a collector that is away, to one that is there.
        pairs = zip(of, to, strict=True) if other == "none" else zip(to, of, strict=True)
        ratios = [a / b for a, b in pairs]
        print(
            f"{title}, {'every span to none' if other == 'none' else f'{other} to every span'}:"
            f" {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


async def main(others: Sequence[str], rounds: int, seconds: float, callers: int) -> None:
    for other in others:
        await compare(other, rounds, seconds, callers)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("others", nargs="*", choices=[*OTHERS, []], default=list(OTHERS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--callers", type=int, default=8)
    arguments = parser.parse_args()
    uvloop.run(main(arguments.others, arguments.rounds, arguments.seconds, arguments.callers))
