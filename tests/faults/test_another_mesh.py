"""The same service in somebody else's mesh, by settings alone: its bootstrap, its certificates, and
a registration that is not the service's own business.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from mesh.identity.files import issue_files
from mesh.xds.lease import Lease
from meshapi.v1 import registry_pb2

from .world import ready, serving, until, world_in

pytestmark = pytest.mark.timeout(90)

METHODS = (registry_pb2.MethodRoute(path="/bank.accounts.v1.AccountsService/DescribeAccount"),)


async def test_a_service_lives_in_another_mesh_by_settings_alone(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        await world.plane()
        given, near = tmp_path / "given", world.addresses["control_plane"]
        issue_files(world.data_dir, "accounts", given, control_plane=near)
        guest = await world.backend(
            "guest",
            GRPC_XDS_BOOTSTRAP=str(given / "bootstrap.json"),
            MESH_CONTROL_PLANE="",
            MESH_IDENTITY="",
            MESH_IDENTITY_DIR=str(given),
        )
        await ready(guest)
        address = await serving(guest)
        files = (given / name for name in ("bundle.pem", "key.pem", "cert.pem"))
        credentials = grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))
        instance = registry_pb2.Instance(
            service="accounts", instance_id="guest", address=address, version="1"
        )
        lease = Lease(near, lambda: credentials)
        registered = asyncio.create_task(lease.keep(instance, METHODS))
        driver = await world.driver()

        async def answers() -> bool:
            return bool((await driver.do("ask")).get("answer") == "guest")

        await until(answers, 20)
        # It calls others by its bootstrap too: itself, in this case.
        answer = (await driver.do("ask", what="hops:1"))["answer"]
        registered.cancel()
        await asyncio.gather(registered, return_exceptions=True)

    assert len(answer.split()) == 2
