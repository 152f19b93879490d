"""A real trace store in a process of its own, and a trace that has all there is in it."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest

from observability import logs, tracing
from observability.client import TraceClient, TraceStoreError

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Addresses:
    """Where a store answers queries and takes spans, and whether it is the embedded one."""

    query: str
    otlp: str
    embedded: bool


@dataclass
class StoreProcess:
    """The embedded store, running."""

    process: subprocess.Popen[str]
    addresses: Addresses

    def stop(self) -> int:
        """Ends it as a supervisor would; gives its exit code."""
        self.process.terminate()
        self.process.communicate(timeout=10)
        return self.process.returncode


def start_store(data: Path, *options: str) -> StoreProcess:
    """Starts the store as its own process on free ports."""
    command = [sys.executable, "-m", "observability.tracestore", "--data", str(data)]
    ports = ["--port", "0", "--otlp-port", "0", "--nice", "0"]
    process = subprocess.Popen(
        [*command, *ports, *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    query, otlp = re.findall(r"http://[\d.:]+", line)
    return StoreProcess(process, Addresses(query, otlp, embedded=True))


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    store = start_store(tmp_path_factory.mktemp("traces"))
    yield store.addresses
    assert store.stop() == 0


def _stores() -> list[str]:
    return ["embedded", "jaeger"] if os.environ.get("JAEGER_URL") else ["embedded"]


@pytest.fixture(params=_stores())
def addresses(request: pytest.FixtureRequest, embedded: Addresses) -> Addresses:
    """The embedded store; and the Jaeger at JAEGER_URL, OTLP at JAEGER_OTLP_URL."""
    if request.param == "embedded":
        return embedded
    otlp = os.environ.get("JAEGER_OTLP_URL", "http://127.0.0.1:4318")
    return Addresses(os.environ["JAEGER_URL"], otlp, embedded=False)


@pytest.fixture
def client(addresses: Addresses) -> TraceClient:
    return TraceClient(addresses.query)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """No test leaves a pipeline behind."""
    yield
    tracing.shutdown()
    logs.shutdown()


Eventually: TypeAlias = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@pytest.fixture
def eventually() -> Eventually:
    """Waits until a condition holds."""

    async def wait(condition: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(20):
            while True:
                try:
                    if await condition():
                        return
                except TraceStoreError:
                    pass
                await asyncio.sleep(0.02)

    return wait
