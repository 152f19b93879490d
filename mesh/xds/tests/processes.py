"""A small mesh of real processes: a control plane, instances, callers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from mesh.identity.files import issue_files
from mesh.identity.join import mint_join_token, trust_bundle_file
from mesh.xds.tests.waiting import PATIENCE_S

QUICK = {
    "MESH_XDS_RETURN_WINDOW_S": "4",
    "MESH_XDS_LAST_INSTANCE_GRACE_S": "1",
    "MESH_XDS_SILENCE_S": "1",
}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Process:
    """A child that speaks JSON lines."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self.child = child

    async def heard(self) -> dict[str, Any]:
        assert self.child.stdout is not None
        line = await asyncio.wait_for(self.child.stdout.readline(), PATIENCE_S)
        assert line, "the process ended"
        told: dict[str, Any] = json.loads(line)
        return told

    async def do(self, act: str, /, **how: object) -> dict[str, Any]:
        assert self.child.stdin is not None
        self.child.stdin.write(json.dumps({"do": act, **how}).encode() + b"\n")
        return await self.heard()

    async def ends(self, number: signal.Signals | None = None) -> int:
        if number is not None and self.child.returncode is None:
            self.child.send_signal(number)
        return await asyncio.wait_for(self.child.wait(), PATIENCE_S)


class Mesh:
    """Starts and ends the processes of one test. `async with` it."""

    def __init__(self, root: Path, **settings: str) -> None:
        self.root = root
        self.data_dir = root / "control-plane"
        self.control_plane = f"localhost:{free_port()}"
        self.identity = f"localhost:{free_port()}"
        self.admin = f"127.0.0.1:{free_port()}"
        self.settings = {**QUICK, **settings}
        self.processes: list[Process] = []

    async def __aenter__(self) -> Mesh:
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self.processes:
            if process.child.returncode is None:
                process.child.kill()
            await process.child.wait()
            # Its pipes close in the next turns of the loop; unclosed ones are warned of.
            process.child._transport.close()  # type: ignore[attr-defined]

    async def start_plane(self) -> Process:
        environment = {
            "MESH_XDS_DATA_DIR": str(self.data_dir),
            "MESH_XDS_LISTEN": self.control_plane.replace("localhost", "127.0.0.1"),
            "MESH_XDS_IDENTITY_LISTEN": self.identity.replace("localhost", "127.0.0.1"),
            "MESH_XDS_ADMIN_LISTEN": self.admin,
            **self.settings,
        }
        plane = await self._start(["-m", "mesh.xds"], environment)
        await self.page("/readyz")
        return plane

    async def start_instance(self, service: str, instance_id: str, **told: object) -> Process:
        workload = str(told.pop("workload", service))
        directory = self.root / instance_id
        directory.mkdir(exist_ok=True)
        token = directory / "join.token"
        token.write_text(mint_join_token(self.data_dir, workload, timedelta(hours=1)))
        words = {
            "service": service,
            "workload": workload,
            "instance_id": instance_id,
            "directory": str(directory / "identity"),
            "identity": self.identity,
            "control_plane": self.control_plane,
            "join_token_file": str(token),
            "trust_bundle_file": str(trust_bundle_file(self.data_dir)),
            **told,
        }
        return await self._start(["-m", "mesh.xds.tests.instance", json.dumps(words)], {})

    async def start_caller(self, workload: str = "caller") -> Process:
        directory = self.root / f"{workload}-{len(self.processes)}"
        issue_files(self.data_dir, workload, directory, control_plane=self.control_plane)
        environment = {"GRPC_XDS_BOOTSTRAP": str(directory / "bootstrap.json")}
        return await self._start(["-m", "mesh.xds.tests.caller"], environment)

    def has_kept(self, instance_id: str) -> bool:
        """Tells whether the control plane has an instance on disk."""
        file = self.data_dir / "catalogue.json"
        return file.exists() and f'"{instance_id}"' in file.read_text()

    async def page(self, path: str) -> Any:
        """Reads a page of the control plane's admin, and waits until there is one."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    return json.loads(await self.text(path))
                except (OSError, ValueError):
                    await asyncio.sleep(0.01)

    async def text(self, path: str) -> str:
        """Reads a page. Raises `OSError` or `ValueError` when there is none."""
        host, _, port = self.admin.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(f"GET {path} HTTP/1.1\r\n\r\n".encode())
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            if b" 200 " not in head.partition(b"\r\n")[0]:
                raise ValueError(head.decode())
            return body.decode()
        finally:
            writer.close()
            await writer.wait_closed()

    async def _start(self, arguments: list[str], environment: dict[str, str]) -> Process:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        )
        process = Process(child)
        self.processes.append(process)
        return process
