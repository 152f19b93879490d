"""A small mesh: a control plane and instances in this process, plain gRPC clients in others."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from mesh.identity.authority import Authority, new_key, pem_of
from mesh.identity.files import issue_files
from mesh.identity.join import authority_directory
from mesh.xds.bootstrap import Node, bootstrap
from mesh.xds.lease import Lease
from mesh.xds.plane import ControlPlane
from mesh.xds.settings import ControlPlaneSettings
from mesh.xds.tests.processes import Process
from mesh.xds.tests.waiting import PATIENCE_S
from meshapi.v1 import policy_pb2 as pb
from meshapi.v1 import registry_pb2
from meshapi.v1.policy_pb2_grpc import PolicyServiceStub

if TYPE_CHECKING:
    from meshapi.v1.policy_pb2_grpc import PolicyServiceAsyncStub

SERVICE = "mesh.test.v1.EchoService"
METHODS = (
    registry_pb2.MethodRoute(path=f"/{SERVICE}/Get", retriable=True, no_side_effects=True),
    registry_pb2.MethodRoute(path=f"/{SERVICE}/Do", retriable=False),
)


class Instance:
    """A server of the test's service that answers with its id, and is told how to fail."""

    def __init__(self, instance_id: str, version: str, zone: str) -> None:
        self.id = instance_id
        self.version = version
        self.zone = zone
        self.failing_percent = 0.0
        self.calls = 0
        self.server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self.lease: Lease | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def answer(self, asked: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        self.calls += 1
        what, _, how = asked.decode().partition(":")
        if what == "slow":
            await asyncio.sleep(float(how))
        if random.uniform(0, 100) < self.failing_percent:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "broken")
        return self.id.encode()

    async def start(self, plane: ControlPlane) -> None:
        key, chain, bundle = certificate_of(plane, "echo")
        method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
            self.answer
        )
        handlers = grpc.method_handlers_generic_handler(SERVICE, {"Get": method, "Do": method})
        self.server.add_generic_rpc_handlers((handlers,))
        port = self.server.add_secure_port(
            "127.0.0.1:0", grpc.ssl_server_credentials([(key, chain)], bundle, True)
        )
        await self.server.start()
        own = grpc.ssl_channel_credentials(bundle, key, chain)
        self.lease = Lease(plane.address, lambda: own)
        instance = registry_pb2.Instance(
            service="echo",
            instance_id=self.id,
            address=f"127.0.0.1:{port}",
            version=self.version,
            zone=self.zone,
        )
        self._keeping = asyncio.create_task(self.lease.keep(instance, METHODS))
        await asyncio.wait_for(self.lease.until_registered(), PATIENCE_S)

    async def leave(self) -> None:
        """Drains, waits until no call has come for a moment, and ends."""
        assert self.lease is not None
        assert await self.lease.drain(PATIENCE_S)
        seen = -1
        while seen != self.calls:
            seen = self.calls
            await asyncio.sleep(0.3)
        await self.end()

    async def end(self) -> None:
        """Ends at once."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
            self._keeping = None
        await self.server.stop(None)


class Mesh:
    """`async with` it."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.root = root
        self.settings = ControlPlaneSettings(
            **{
                "data_dir": root / "control-plane",
                "listen": "127.0.0.1:0",
                "identity_listen": "127.0.0.1:0",
                "silence_s": 0.0,
                **settings,
            }
        )
        self.plane = ControlPlane(self.settings)
        self._things = AsyncExitStack()
        self._processes: list[Process] = []

    async def __aenter__(self) -> Mesh:
        await self.plane.start()
        # The same address after a restart.
        self.settings = self.settings.model_copy(update={"listen": self.plane.address})
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes:
            if process.child.returncode is None:
                process.child.kill()
            await process.child.wait()
            process.child._transport.close()  # type: ignore[attr-defined]
        await self._things.aclose()
        await self.plane.stop()

    async def restart_plane(self) -> None:
        """Ends the control plane, and starts another with its data."""
        await self.plane.stop()
        self.plane = ControlPlane(self.settings)
        await self.plane.start()

    async def instance(self, instance_id: str, version: str = "v1", zone: str = "z1") -> Instance:
        """Starts an instance; it is registered when this returns."""
        instance = Instance(instance_id, version, zone)
        self._things.push_async_callback(instance.end)
        await instance.start(self.plane)
        return instance

    async def client(self, zone: str = "z1") -> Process:
        """Starts a client. It calls for the first time when it is told to."""
        directory = self.root / f"client-{len(self._processes)}"
        address = self.plane.address.replace("127.0.0.1", "localhost")
        issue_files(self.settings.data_dir, "caller", directory, control_plane=address)
        node = Node(
            service="caller",
            instance_id=directory.name,
            zone=zone,
            version="1",
            control_plane=address,
        )
        file = directory / "own.json"
        file.write_text(json.dumps(bootstrap(node, directory)))
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "mesh.xds.policy.tests.client",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "GRPC_XDS_BOOTSTRAP": str(file),
            },
        )
        process = Process(child)
        self._processes.append(process)
        return process

    async def stub(self, workload: str = "operator") -> PolicyServiceAsyncStub:
        """Makes a stub that asks as a workload."""
        key, chain, bundle = certificate_of(self.plane, workload)
        channel = grpc.aio.secure_channel(
            self.plane.address, grpc.ssl_channel_credentials(bundle, key, chain)
        )
        self._things.push_async_callback(channel.close)
        stub: Any = PolicyServiceStub(channel)
        return stub  # type: ignore[no-any-return]

    async def apply(
        self, *services: pb.ServicePolicy, reason: str = "", force: bool = False
    ) -> pb.PolicyRevision:
        """Applies a policy; raises `grpc.aio.AioRpcError` when it is refused."""
        stub = await self.stub()
        policy = pb.MeshPolicy(services=services)
        request = pb.ApplyPolicyRequest(policy=policy, author="test", reason=reason, force=force)
        response: pb.ApplyPolicyResponse = await stub.ApplyPolicy(request, timeout=PATIENCE_S)
        return response.current


def certificate_of(plane: ControlPlane, workload: str) -> tuple[bytes, bytes, bytes]:
    """Issues a certificate: its key, its chain, and the roots."""
    authority = Authority.open(authority_directory(plane.settings.data_dir))
    key = new_key()
    issued = authority.issue(workload, key.public_key(), timedelta(hours=1))
    return pem_of(key), issued.chain_pem, authority.trust_bundle


async def answers(client: Process, **how: object) -> dict[str, int]:
    """Has a client call, and counts the answers."""
    counted: dict[str, int] = (await client.do("call", **how))["answers"]
    return counted


async def reaches(client: Process, answer: str, **how: object) -> float:
    """Waits until a client has an answer again and again; tells when it first had."""
    found = await client.do("until", answer=answer, within_s=PATIENCE_S - 5, **how)
    assert found["last"] == answer
    at: float = found["at"]
    return at
