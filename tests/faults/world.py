"""Real processes for the tests of faults: a control plane or two, services, and their callers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from mesh.identity.files import issue_files
from mesh.identity.join import mint_join_token, trust_bundle_file
from mesh.tests.processes import Started, eventually, free_port, get
from meshapi.v1 import policy_pb2
from meshapi.v1.policy_pb2_grpc import PolicyServiceStub

if TYPE_CHECKING:
    from meshapi.v1.policy_pb2_grpc import PolicyServiceAsyncStub

PATIENCE_S = 60.0
SHARED = {"BANK_ENV": "dev", "MESH_OTLP_URL": "", "MESH_NATS_URL": ""}


@dataclass(frozen=True)
class Call:
    """A call as its caller saw it; times in seconds, `at` since the load began."""

    at: float
    took: float
    end: str


class Driver:
    """A caller: a process that is told what to do (`tests.faults.driver`)."""

    def __init__(self, child: asyncio.subprocess.Process, folder: Path) -> None:
        self.child = child
        self.folder = folder

    async def heard(self) -> dict[str, Any]:
        assert self.child.stdout is not None
        line = await asyncio.wait_for(self.child.stdout.readline(), PATIENCE_S)
        assert line, "the driver ended"
        told: dict[str, Any] = json.loads(line)
        return told

    async def do(self, act: str, /, **how: object) -> dict[str, Any]:
        assert self.child.stdin is not None
        self.child.stdin.write(json.dumps({"do": act, **how}).encode() + b"\n")
        return await self.heard()

    async def start(self, rate: float, what: str = "") -> None:
        await self.do("start", rate=rate, what=what, file=str(self.folder / "calls"))

    async def stop(self) -> list[Call]:
        await self.do("stop")
        found = []
        for line in (self.folder / "calls").read_text().splitlines():
            at, took, end = line.split(" ", 2)
            found.append(Call(float(at), float(took), end))
        found.sort(key=lambda call: call.at)
        return [Call(call.at - found[0].at, call.took, call.end) for call in found]


class World:
    """A folder with everything, and the processes in it."""

    def __init__(self, folder: Path, **control: str) -> None:
        self.folder = folder
        self.control = control
        self.host = "localhost"
        self.prefix: list[str] = []
        self.ports = free_port(), free_port()
        self.registry: list[int] = []
        self.started: list[Started] = []
        self.drivers: list[Driver] = []
        (folder / "control-plane").mkdir()
        self.bundle = trust_bundle_file(folder / "control-plane")

    def name_two_addresses(self) -> None:
        """Gives the control plane a name with two addresses, in a file of hosts of the processes'
        own. Skips the test where that is not allowed.
        """
        self.host = "plane.bank.test"
        hosts = self.folder / "hosts"
        lines = ["127.0.0.1 localhost", f"127.0.0.1 {self.host}", f"127.0.0.2 {self.host}", ""]
        hosts.write_text("\n".join(lines))
        mount = f'mount --bind {hosts} /etc/hosts && exec "$@"'
        self.prefix = ["unshare", "--mount", "sh", "-c", mount, "sh"]
        try:
            subprocess.run([*self.prefix, "true"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip(
                "a file of hosts of one's own needs `unshare --mount`, which is not allowed"
            )

    def share_a_port(self) -> None:
        """Has two control planes listen at one port, and each at one of its own."""
        self.registry = [free_port(), free_port()]

    @property
    def data_dir(self) -> Path:
        return self.folder / "control-plane"

    @property
    def addresses(self) -> dict[str, str]:
        xds, identity = self.ports
        addresses = {"control_plane": f"{self.host}:{xds}", "identity": f"{self.host}:{identity}"}
        if self.registry:
            addresses["registry"] = ",".join(f"{self.host}:{port}" for port in self.registry)
        return addresses

    async def plane(self, number: int = 0) -> Started:
        xds, identity = self.ports
        where = f"127.0.0.{number + 1}"
        admin = free_port()
        own = self.data_dir if not number else self.folder / f"control-plane-{number}"
        settings = {
            "MESH_XDS_DATA_DIR": str(own),
            "MESH_XDS_AUTHORITY_DATA_DIR": str(self.data_dir),
            "MESH_XDS_LISTEN": f"{where}:{xds}",
            "MESH_XDS_IDENTITY_LISTEN": f"{where}:{identity}",
            "MESH_XDS_SERVER_NAMES": json.dumps([self.host]),
            "MESH_XDS_ADMIN_LISTEN": f"127.0.0.1:{admin}",
            **self.control,
        }
        if self.registry:
            settings |= {
                "MESH_XDS_LISTEN": f"127.0.0.1:{self.registry[number]}",
                "MESH_XDS_IDENTITY_LISTEN": f"127.0.0.1:{identity}",
                "MESH_XDS_SHARED_LISTEN": f"127.0.0.1:{xds}",
            }
        own.mkdir(exist_ok=True)
        plane = await self._start(["mesh.xds"], admin, f"plane-{number}", settings)
        await plane_ready(plane)
        return plane

    async def backend(self, instance: str, **settings: str) -> Started:
        own = self.folder / instance
        self._join(own, "accounts")
        admin = free_port()
        told = {
            **SHARED,
            "BANK_DATA": str(own),
            "MESH_INSTANCE_ID": instance,
            "MESH_ADMIN_LISTEN": f"127.0.0.1:{admin}",
            "MESH_JOIN_TOKEN_FILE": str(own / "join.token"),
            "MESH_TRUST_BUNDLE_FILE": str(self.bundle),
            **{f"MESH_{name.upper()}": value for name, value in self.addresses.items()},
            **settings,
        }
        return await self._start(["tests.faults.backend"], admin, instance, told)

    async def backends(self, *instances: str) -> list[Started]:
        found = [await self.backend(instance) for instance in instances]
        for backend in found:
            await ready(backend)
        return found

    async def driver(self, workload: str = "edge", name: str = "", bootstrap: str = "") -> Driver:
        """Starts a caller. `bootstrap` is a file, instead of one that names our control plane."""
        own = self.folder / (name or f"{workload}-{len(self.drivers)}")
        self._join(own, workload)
        told = {
            "workload": workload,
            "directory": str(own),
            "trust_bundle_file": str(self.bundle),
            **self.addresses,
        }
        with (own / "log").open("wb") as log:
            child = await asyncio.create_subprocess_exec(
                *self.prefix,
                sys.executable,
                "-m",
                "tests.faults.driver",
                json.dumps(told),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=environment({"GRPC_XDS_BOOTSTRAP": bootstrap} if bootstrap else {}),
            )
        driver = Driver(child, own)
        self.drivers.append(driver)
        await driver.heard()
        return driver

    async def apply(self, *services: policy_pb2.ServicePolicy) -> policy_pb2.PolicyRevision:
        """Replaces the policy, as an operator."""
        request = policy_pb2.ApplyPolicyRequest(policy=policy_pb2.MeshPolicy(services=services))
        async with self._operator() as stub:
            return (await stub.ApplyPolicy(request, timeout=PATIENCE_S)).current

    async def policy(self) -> policy_pb2.MeshPolicy:
        """The policy of now."""
        async with self._operator() as stub:
            request = policy_pb2.GetPolicyRequest()
            return (await stub.GetPolicy(request, timeout=PATIENCE_S)).current.policy

    @asynccontextmanager
    async def _operator(self) -> AsyncIterator[PolicyServiceAsyncStub]:
        own, near = self.folder / "operator", self.addresses["control_plane"]
        if not own.exists():
            await asyncio.to_thread(issue_files, self.data_dir, "operator", own, control_plane=near)
        files = (own / name for name in ("bundle.pem", "key.pem", "cert.pem"))
        credentials = grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))
        async with grpc.aio.secure_channel(near, credentials) as channel:
            stub: Any = PolicyServiceStub(channel)
            yield stub

    def _join(self, own: Path, workload: str) -> None:
        own.mkdir(exist_ok=True)
        token = mint_join_token(self.data_dir, workload, timedelta(hours=1))
        (own / "join.token").write_text(token)

    async def _start(
        self, arguments: list[str], admin: int, name: str, settings: dict[str, str]
    ) -> Started:
        log = self.folder / f"{name}-{len(self.started)}.log"
        with log.open("wb") as output:
            child = await asyncio.create_subprocess_exec(
                *self.prefix,
                sys.executable,
                "-m",
                *arguments,
                stdout=output,
                stderr=output,
                env=environment(settings),
            )
        started = Started(Child(child), log, admin)  # type: ignore[arg-type]
        self.started.append(started)
        return started

    async def close(self) -> None:
        children = [started.process.child for started in self.started]  # type: ignore[attr-defined]
        for child in [*children, *(driver.child for driver in self.drivers)]:
            if child.returncode is None:
                child.kill()
            await child.wait()
            child._transport.close()


class Child:
    """A process of asyncio, with what `Started` uses of `subprocess.Popen`."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self.child = child

    def send_signal(self, number: signal.Signals) -> None:
        self.child.send_signal(number)


async def ends(started: Started, number: signal.Signals) -> int:
    """Sends a signal that ends a process, and gives its exit code."""
    started.process.send_signal(number)
    child: asyncio.subprocess.Process = started.process.child  # type: ignore[attr-defined]
    return await asyncio.wait_for(child.wait(), PATIENCE_S)


async def until(holds: Callable[[], Awaitable[bool]], patience_s: float) -> None:
    """Waits until something holds. Raises `TimeoutError` when patience ends."""
    async with asyncio.timeout(patience_s):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def serving(backend: Started) -> str:
    """Waits until an instance serves; gives its address, which only its log tells."""
    found: list[str] = []

    async def is_told() -> bool:
        found.extend(re.findall(r'"address":"(127.0.0.1:\d+)"', backend.log.read_text()))
        return bool(found)

    await until(is_told, 20)
    return found[0]


async def plane_ready(plane: Started) -> None:
    async def is_ready() -> bool:
        return (await get(plane.admin, "/readyz"))[0] == 200

    await eventually(is_ready)


async def ready(backend: Started) -> None:
    async def is_ready() -> bool:
        return (await get(backend.admin, "/readyz"))[0] == 200

    await eventually(is_ready)


async def attempts(backends: Iterable[Started]) -> int:
    """Sums the calls that servers have answered, however."""
    total = 0
    for backend in backends:
        text = (await get(backend.admin, "/metrics"))[1]
        counts = re.findall(
            r"^rpc_server_call_duration_seconds_count\{([^}]*)\} (\d+)", text, re.MULTILINE
        )
        total += sum(int(count) for labels, count in counts if "DescribeAccount" in labels)
    return total


def environment(settings: dict[str, str]) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **settings}


def tally(calls: Iterable[Call]) -> Counter[str]:
    return Counter(call.end for call in calls)


def between(calls: Iterable[Call], since: float, until: float = 1e9) -> list[Call]:
    return [call for call in calls if since <= call.at < until]


def quantile(calls: Iterable[Call], percent: int) -> float:
    return statistics.quantiles((call.took for call in calls), n=100)[percent - 1]


def p99(calls: Iterable[Call]) -> float:
    return quantile(calls, 99)


@asynccontextmanager
async def world_in(folder: Path, **control: str) -> AsyncIterator[World]:
    """A world whose processes have ended when the block is left."""
    world = World(folder, **control)
    try:
        yield world
    finally:
        await world.close()
