"""Real processes for tests: services and the control plane, on free ports, in one folder."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from mesh.identity.join import mint_join_token, trust_bundle_file

_START_S = 20.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def get(port: int, path: str = "/") -> tuple[int, str]:
    """Asks by HTTP. Raises `OSError` when nobody listens."""
    return await asyncio.to_thread(_get, f"http://127.0.0.1:{port}{path}")


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Waits until something holds; an answer that cannot be had does not."""
    async with asyncio.timeout(_START_S):
        while True:
            try:
                if await holds():
                    return
            except OSError:
                pass
            await asyncio.sleep(0.02)


@dataclass
class Started:
    """A process, its log, and its admin port."""

    process: subprocess.Popen[bytes]
    log: Path
    admin: int
    http: int = 0

    async def readiness(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads((await get(self.admin, "/readyz"))[1])
        return answer

    async def ready(self) -> None:
        async def is_ready() -> bool:
            # No NATS runs here.
            missing = (await self.readiness())["missing"]
            return all(each.startswith("nats: ") for each in missing)

        await eventually(is_ready)

    async def terminate(self) -> int:
        """Sends SIGTERM, and gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, _START_S)


@dataclass
class Mesh:
    """A folder with everything, and the processes in it."""

    folder: Path
    xds: int = field(default_factory=free_port)
    identity: int = field(default_factory=free_port)
    started: list[Started] = field(default_factory=list)

    def control_plane(self) -> Started:
        admin = free_port()
        return self._start(
            "mesh.xds",
            [],
            admin,
            MESH_XDS_DATA_DIR=str(self.folder / "control-plane"),
            MESH_XDS_LISTEN=f"127.0.0.1:{self.xds}",
            MESH_XDS_IDENTITY_LISTEN=f"127.0.0.1:{self.identity}",
            MESH_XDS_ADMIN_LISTEN=f"127.0.0.1:{admin}",
        )

    def service(self, name: str, **settings: str) -> Started:
        authority = self.folder / "control-plane"
        authority.mkdir(exist_ok=True)
        token = self.folder / f"{name}.token"
        token.write_text(mint_join_token(authority, name, timedelta(minutes=5)))
        admin, http = free_port(), free_port()
        known = {
            "BANK_DATA": str(self.folder),
            "MESH_ADMIN_LISTEN": f"127.0.0.1:{admin}",
            "MESH_HTTP_LISTEN": f"127.0.0.1:{http}",
            "MESH_CONTROL_PLANE": f"localhost:{self.xds}",
            "MESH_IDENTITY": f"localhost:{self.identity}",
            "MESH_JOIN_TOKEN_FILE": str(token),
            "MESH_TRUST_BUNDLE_FILE": str(trust_bundle_file(authority)),
            "MESH_NATS_URL": f"nats://127.0.0.1:{free_port()}",
            "MESH_OTLP_URL": "",
        }
        started = self._start("mesh.tests.echo", [name], admin, **(known | settings))
        started.http = http
        return started

    def _start(self, module: str, arguments: list[str], admin: int, **settings: str) -> Started:
        log = self.folder / f"{len(self.started)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **settings},
                stdout=output,
                stderr=output,
            )
        started = Started(process, log, admin)
        self.started.append(started)
        return started


@asynccontextmanager
async def mesh_in(folder: Path) -> AsyncIterator[Mesh]:
    """A mesh whose processes have ended when the block is left."""
    mesh = Mesh(folder)
    try:
        yield mesh
    finally:
        for started in mesh.started:
            started.process.kill()
            started.process.wait()
