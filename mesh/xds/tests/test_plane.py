"""The control plane in this process, seen through its registry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from google.protobuf.any_pb2 import Any as Packed

from mesh.identity.authority import Authority, new_key, pem_of
from mesh.identity.join import authority_directory
from mesh.xds.lease import Lease
from mesh.xds.plane import ControlPlane
from mesh.xds.resources import CDS
from mesh.xds.settings import ControlPlaneSettings
from mesh.xds.tests.processes import Mesh
from mesh.xds.tests.waiting import PATIENCE_S, until
from meshapi.v1 import registry_pb2 as pb
from meshapi.v1.registry_pb2_grpc import RegistryServiceStub

HOUR = timedelta(hours=1)


@pytest.fixture
def settings(tmp_path: Path) -> ControlPlaneSettings:
    return ControlPlaneSettings(
        data_dir=tmp_path / "control-plane",
        listen="127.0.0.1:0",
        identity_listen="127.0.0.1:0",
        silence_s=0.0,
    )


@pytest.fixture
async def plane(settings: ControlPlaneSettings) -> AsyncIterator[ControlPlane]:
    plane = ControlPlane(settings)
    await plane.start()
    yield plane
    await plane.stop()


def credentials_of(plane: ControlPlane, workload: str) -> grpc.ChannelCredentials:
    authority = Authority.open(authority_directory(plane.settings.data_dir))
    key = new_key()
    issued = authority.issue(workload, key.public_key(), HOUR)
    return grpc.ssl_channel_credentials(authority.trust_bundle, pem_of(key), issued.chain_pem)


def an_instance(service: str = "echo", instance_id: str = "a", port: int = 1) -> pb.Instance:
    return pb.Instance(
        service=service,
        instance_id=instance_id,
        address=f"127.0.0.1:{port}",
        state=pb.INSTANCE_STATE_READY,
    )


@asynccontextmanager
async def held(plane: ControlPlane, instance: pb.Instance) -> AsyncIterator[Lease]:
    credentials = credentials_of(plane, instance.service)
    lease = Lease(plane.address, lambda: credentials)
    keeping = asyncio.create_task(lease.keep(instance, ()))
    try:
        await asyncio.wait_for(lease.until_registered(), PATIENCE_S)
        yield lease
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def listed(plane: ControlPlane) -> list[pb.Instance]:
    async with grpc.aio.secure_channel(plane.address, credentials_of(plane, "sre")) as channel:
        stub = RegistryServiceStub(channel)
        response = await stub.ListInstances(pb.ListInstancesRequest(), timeout=PATIENCE_S)
        return list(response.instances)


async def refusal(plane: ControlPlane, workload: str, instance: pb.Instance) -> grpc.StatusCode:
    async with grpc.aio.secure_channel(plane.address, credentials_of(plane, workload)) as channel:
        call = RegistryServiceStub(channel).Register(timeout=PATIENCE_S)
        await call.write(pb.RegisterRequest(instance=instance))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await to_its_end(call)
        return caught.value.code()


async def to_its_end(
    call: grpc.aio.StreamStreamCall[pb.RegisterRequest, pb.RegisterResponse],
) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def test_an_instance_is_listed_while_its_lease_is_held(plane: ControlPlane) -> None:
    async with held(plane, an_instance(instance_id="a", port=1)):
        async with held(plane, an_instance(instance_id="b", port=2)):
            assert [instance.instance_id for instance in await listed(plane)] == ["a", "b"]

        await until(lambda: [i.instance_id for i in plane.registry.instances()] == ["a"])


async def test_nobody_registers_for_another_workload(plane: ControlPlane) -> None:
    instance = an_instance("accounts")

    code = await refusal(plane, "mallory", instance)

    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert await listed(plane) == []


@pytest.mark.parametrize(
    "address", ["", "localhost:1", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:x", "127.0.0.1:65536"]
)
async def test_an_address_that_makes_no_sense_is_refused(plane: ControlPlane, address: str) -> None:
    instance = an_instance()
    instance.address = address

    assert await refusal(plane, "echo", instance) is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_stranger_gets_no_connection(plane: ControlPlane, tmp_path: Path) -> None:
    foreign = Authority.open(tmp_path / "foreign")
    key = new_key()
    issued = foreign.issue("echo", key.public_key(), HOUR)
    own_bundle = Authority.open(authority_directory(plane.settings.data_dir)).trust_bundle
    for stranger in (
        grpc.ssl_channel_credentials(own_bundle),
        grpc.ssl_channel_credentials(own_bundle, pem_of(key), issued.chain_pem),
    ):
        async with grpc.aio.secure_channel(plane.address, stranger) as channel:
            stub = RegistryServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ListInstances(pb.ListInstancesRequest(), timeout=PATIENCE_S)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_no_workload_can_pass_for_the_control_plane(plane: ControlPlane) -> None:
    authority = Authority.open(authority_directory(plane.settings.data_dir))
    key = new_key()
    issued = authority.issue("localhost", key.public_key(), HOUR)
    server = grpc.aio.server()
    port = server.add_secure_port(
        "127.0.0.1:0", grpc.ssl_server_credentials([(pem_of(key), issued.chain_pem)])
    )
    await server.start()
    try:
        async with grpc.aio.secure_channel(
            f"localhost:{port}", credentials_of(plane, "echo")
        ) as channel:
            stub = RegistryServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ListInstances(pb.ListInstancesRequest(), timeout=PATIENCE_S)
    finally:
        await server.stop(None)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_draining_without_clients_is_acknowledged(plane: ControlPlane) -> None:
    async with held(plane, an_instance()) as lease:
        assert await lease.drain(PATIENCE_S)

        (instance,) = await listed(plane)
        assert instance.state == pb.INSTANCE_STATE_DRAINING


async def test_a_lease_returns_after_a_restart_as_it_was(settings: ControlPlaneSettings) -> None:
    plane = ControlPlane(settings)
    await plane.start()
    fixed = settings.model_copy(update={"listen": plane.address})
    try:
        async with held(plane, an_instance()) as lease:
            assert await lease.drain(PATIENCE_S)
            await plane.stop()

            plane = ControlPlane(fixed)
            await plane.start()
            await asyncio.wait_for(lease.until_registered(), PATIENCE_S)

            (instance,) = await listed(plane)
            assert instance.state == pb.INSTANCE_STATE_DRAINING
    finally:
        await plane.stop()


async def test_a_lease_with_a_successor_is_void(plane: ControlPlane) -> None:
    instance = an_instance()
    request = pb.RegisterRequest(instance=instance)
    first = plane.registry.open("echo", request)
    second = plane.registry.open("echo", request)

    plane.registry.close(first)

    assert first.lost
    assert not second.lost
    assert [instance.instance_id for instance in plane.registry.instances()] == ["a"]


async def test_a_refused_resource_is_recorded_and_changes_nothing(
    plane: ControlPlane, tmp_path: Path
) -> None:
    async with Mesh(tmp_path) as mesh:
        mesh.control_plane = plane.address.replace("127.0.0.1", "localhost")
        mesh.identity = plane.identity_address.replace("127.0.0.1", "localhost")
        await (await mesh.start_instance("echo", "a")).heard()
        caller = await mesh.start_caller()
        assert (await caller.do("call", service="echo"))["answers"] == {"a": 1}
        (client,) = plane.publisher.clients
        accepted = client.subscriptions[CDS].version_acknowledged

        good = plane.publisher.snapshot.find(CDS, ["echo"])["echo"].body
        cluster = Cluster.FromString(good.value)
        cluster.lb_policy = Cluster.LEAST_REQUEST
        bad = Packed()
        bad.Pack(cluster)
        plane.publisher.snapshot.put(CDS, "echo", bad)
        plane.publisher.wake()

        await until(lambda: client.subscriptions[CDS].refusals > 0)
        assert "LB policy is not supported" in client.subscriptions[CDS].refusal
        assert client.subscriptions[CDS].version_acknowledged == accepted
        assert (await caller.do("call", service="echo", n=20))["answers"] == {"a": 20}


async def test_an_impostor_is_not_called(plane: ControlPlane, tmp_path: Path) -> None:
    async with Mesh(tmp_path) as mesh:
        mesh.control_plane = plane.address.replace("127.0.0.1", "localhost")
        mesh.identity = plane.identity_address.replace("127.0.0.1", "localhost")
        await (await mesh.start_instance("mallory", "m")).heard()
        (mallory,) = plane.registry.instances()

        # As if the registry had been deceived.
        claimed = an_instance("echo", "e")
        claimed.address = mallory.address
        plane.registry.open("echo", pb.RegisterRequest(instance=claimed))
        caller = await mesh.start_caller()
        (answer,) = (await caller.do("call", service="echo"))["answers"]

        assert answer.startswith("UNAVAILABLE")
        assert (await caller.do("call", service="mallory"))["answers"] == {"m": 1}


async def test_a_caller_of_a_foreign_authority_reaches_nobody(
    plane: ControlPlane, tmp_path: Path
) -> None:
    async with Mesh(tmp_path) as mesh:
        mesh.control_plane = plane.address.replace("127.0.0.1", "localhost")
        mesh.identity = plane.identity_address.replace("127.0.0.1", "localhost")
        await (await mesh.start_instance("echo", "a")).heard()
        mesh.data_dir = tmp_path / "foreign"
        stranger = await mesh.start_caller()

        (answer,) = (await stranger.do("call", service="echo"))["answers"]

        assert answer.startswith("UNAVAILABLE")
        assert not plane.publisher.clients


async def test_a_second_control_plane_at_one_port_does_not_start(
    plane: ControlPlane, settings: ControlPlaneSettings
) -> None:
    second = ControlPlane(settings.model_copy(update={"listen": plane.address}))
    try:
        with pytest.raises(RuntimeError):
            await second.start()
    finally:
        await second.stop()


async def test_a_silent_instance_is_withdrawn_and_its_lease_ended(
    settings: ControlPlaneSettings,
) -> None:
    plane = ControlPlane(settings.model_copy(update={"lease_ttl_s": 0.3}))
    await plane.start()
    try:
        code = await refusal(plane, "echo", an_instance())

        # It sent one message, and never beat.
        assert code is grpc.StatusCode.UNAVAILABLE
    finally:
        await plane.stop()
