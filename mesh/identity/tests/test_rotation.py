from __future__ import annotations

import asyncio
import ssl
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from mesh.errors import FailedPrecondition
from mesh.identity.join import mint_join_token, trust_bundle_file
from mesh.identity.rotation import prepare_root, retire_roots, switch_root
from mesh.identity.workload import WorkloadIdentity
from mesh.xds.plane import ControlPlane
from mesh.xds.settings import ControlPlaneSettings
from mesh.xds.tests.waiting import PATIENCE_S


class World:
    """A control plane, a workload that serves, and one that calls it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data_dir = root / "control-plane"
        trust_bundle_file(self.data_dir)

    async def renewed(self, workload: str) -> WorkloadIdentity:
        """Gives a workload a new certificate, by a control plane that has just started."""
        plane = ControlPlane(
            ControlPlaneSettings(
                data_dir=self.data_dir, listen="127.0.0.1:0", identity_listen="127.0.0.1:0"
            )
        )
        await plane.start()
        try:
            token = self.root / "token"
            token.write_text(mint_join_token(self.data_dir, workload, timedelta(hours=1)))
            identity = WorkloadIdentity(
                workload,
                directory=self.root / workload,
                address=plane.identity_address,
                join_token_file=token,
                trust_bundle_file=trust_bundle_file(self.data_dir),
            )
            await identity._renew()
        finally:
            await plane.stop()
        return identity


async def works(caller: WorkloadIdentity, server: WorkloadIdentity) -> bool:
    """Tells whether two workloads can shake hands."""
    endpoint = grpc.aio.server()
    port = endpoint.add_secure_port("127.0.0.1:0", server.server_credentials())
    await endpoint.start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Workloads have no host names: their callers know them by their ids.
    context.check_hostname = False
    context.load_verify_locations(str(caller.directory / "bundle.pem"))
    context.load_cert_chain(caller.directory / "cert.pem", caller.directory / "key.pem")
    context.set_alpn_protocols(["h2"])
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        try:
            # The server's first frame comes when it has accepted the caller's certificate.
            return await asyncio.wait_for(reader.read(9), PATIENCE_S) != b""
        finally:
            writer.transport.abort()
    except OSError:
        return False
    finally:
        await endpoint.stop(None)


async def test_the_root_changes_and_no_handshake_fails(tmp_path: Path) -> None:
    world = World(tmp_path)
    server, caller = await world.renewed("accounts"), await world.renewed("transfers")
    assert await works(caller, server)

    prepare_root(world.data_dir)
    server = await world.renewed("accounts")
    assert await works(caller, server)
    caller = await world.renewed("transfers")
    assert await works(caller, server)

    switch_root(world.data_dir)
    server = await world.renewed("accounts")
    assert await works(caller, server)
    caller = await world.renewed("transfers")
    assert await works(caller, server)

    retire_roots(world.data_dir)
    server = await world.renewed("accounts")
    assert await works(caller, server)
    caller = await world.renewed("transfers")
    assert await works(caller, server)


async def test_a_certificate_of_a_retired_root_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path)
    late = await world.renewed("late")
    prepare_root(world.data_dir)
    switch_root(world.data_dir)
    retire_roots(world.data_dir)
    server = await world.renewed("accounts")

    assert not await works(late, server)


def test_the_steps_are_taken_in_order(tmp_path: Path) -> None:
    trust_bundle_file(tmp_path)

    with pytest.raises(FailedPrecondition):
        switch_root(tmp_path)
    prepare_root(tmp_path)
    with pytest.raises(FailedPrecondition):
        retire_roots(tmp_path)
    switch_root(tmp_path)
    with pytest.raises(FailedPrecondition):
        prepare_root(tmp_path)
    retire_roots(tmp_path)
    prepare_root(tmp_path)


def test_a_step_that_was_cut_short_is_taken_again(tmp_path: Path) -> None:
    bundle = trust_bundle_file(tmp_path)
    one_root = bundle.read_bytes()
    prepare_root(tmp_path)
    bundle.write_bytes(one_root)

    prepare_root(tmp_path)

    assert bundle.read_bytes().count(b"BEGIN CERTIFICATE") == 2
