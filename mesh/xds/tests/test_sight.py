"""What the control plane sees of real clients."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from google.protobuf.any_pb2 import Any as Packed

from mesh.xds.plane import ControlPlane
from mesh.xds.resources import CDS
from mesh.xds.settings import ControlPlaneSettings
from mesh.xds.tests.processes import Mesh, Process
from mesh.xds.tests.test_plane import credentials_of
from mesh.xds.tests.waiting import PATIENCE_S, until
from meshapi.v1 import sight_pb2 as pb
from meshapi.v1.sight_pb2_grpc import SightServiceStub

if TYPE_CHECKING:
    from meshapi.v1.sight_pb2_grpc import SightServiceAsyncStub


@asynccontextmanager
async def a_mesh(tmp_path: Path) -> AsyncIterator[tuple[ControlPlane, Mesh]]:
    """A control plane in this process, and others that follow it."""
    plane = ControlPlane(
        ControlPlaneSettings(
            data_dir=tmp_path / "control-plane",
            listen="127.0.0.1:0",
            identity_listen="127.0.0.1:0",
            silence_s=0.0,
        )
    )
    await plane.start()
    try:
        async with Mesh(tmp_path) as mesh:
            mesh.control_plane = plane.address.replace("127.0.0.1", "localhost")
            mesh.identity = plane.identity_address.replace("127.0.0.1", "localhost")
            yield plane, mesh
    finally:
        await plane.stop()


@asynccontextmanager
async def asking(
    plane: ControlPlane, workload: str = "operator"
) -> AsyncIterator[SightServiceAsyncStub]:
    async with grpc.aio.secure_channel(plane.address, credentials_of(plane, workload)) as channel:
        yield SightServiceStub(channel)


async def called(mesh: Mesh, caller: Process, instance: str, **how: object) -> None:
    process = await mesh.start_instance("echo", instance)
    await process.heard()
    await caller.do("until", service="echo", answer=instance)
    await caller.do("call", service="echo", **how)


def states(response: pb.ListClientsResponse) -> dict[str, dict[str, str]]:
    return {
        client.workload: {each.type: pb.SyncState.Name(each.state)[11:] for each in client.types}
        for client in response.clients
    }


async def test_load_reports_tell_who_called_how_often_and_how_it_went(tmp_path: Path) -> None:
    async with a_mesh(tmp_path) as (plane, mesh), asking(plane) as sight:
        caller = await mesh.start_caller("edge")
        await called(mesh, caller, "a", n=20)
        before = plane.reports.of("echo", 300)
        await caller.do("call", service="echo", method="Do", what="refuse", n=7)

        async def has_arrived() -> bool:
            return plane.reports.of("echo", 300).failed >= before.failed + 7

        await until(has_arrived)
        found: pb.ListEdgesResponse = await sight.ListEdges(pb.ListEdgesRequest(service="echo"))

    (edge,) = found.edges
    # The first call of all waited for the instance; it may have been repeated.
    assert (edge.caller, edge.service, edge.zone) == ("edge", "echo", "local")
    assert edge.caller_node_id.startswith("edge-")
    assert edge.succeeded >= 21
    assert edge.failed == 7
    assert edge.issued == edge.succeeded + edge.failed


async def test_a_client_is_synced_until_it_refuses_and_the_reason_is_shown(tmp_path: Path) -> None:
    async with a_mesh(tmp_path) as (plane, mesh), asking(plane) as sight:
        caller = await mesh.start_caller("edge")
        await called(mesh, caller, "a")

        async def is_synced() -> bool:
            found = states(await sight.ListClients(pb.ListClientsRequest()))
            return set(found["edge"].values()) == {"SYNCED"}

        await until(is_synced)
        bad = Packed()
        bad.Pack(Cluster(name="echo", type=Cluster.EDS, lb_policy=Cluster.RANDOM))
        plane.publisher.snapshot.put(CDS, "echo", bad)
        plane.publisher.wake()

        async def has_refused() -> bool:
            found = states(await sight.ListClients(pb.ListClientsRequest(workload="edge")))
            return found["edge"] == {
                "lds": "SYNCED",
                "rds": "SYNCED",
                "cds": "NACKED",
                "eds": "SYNCED",
            }

        await until(has_refused)
        (client,) = (await sight.ListClients(pb.ListClientsRequest())).clients
        assert client.state == pb.SYNC_STATE_NACKED
        (cds,) = [each for each in client.types if each.type == "cds"]
        assert "echo" in cds.error
        assert cds.version_sent > cds.version_acknowledged

        request = pb.DumpClientRequest(node_id=client.node_id, type="cds")
        (resource,) = (await sight.DumpClient(request)).resources
        assert json.loads(resource.current_json)["lbPolicy"] == "RANDOM"
        assert "lbPolicy" not in json.loads(resource.held_json)
        assert resource.version_held < resource.version_current
        # It goes on with what it had.
        assert (await caller.do("call", service="echo"))["answers"] == {"a": 1}


async def test_a_name_that_nobody_knows_is_a_client_in_good_order(tmp_path: Path) -> None:
    async with a_mesh(tmp_path) as (plane, mesh), asking(plane) as sight:
        caller = await mesh.start_caller("edge")
        await caller.do("call", service="nobody")

        assert states(await sight.ListClients(pb.ListClientsRequest())) == {
            "edge": {"lds": "SYNCED"}
        }


async def test_only_an_operator_may_look(tmp_path: Path) -> None:
    async with a_mesh(tmp_path) as (plane, _), asking(plane, "transfers") as sight:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await sight.ListClients(pb.ListClientsRequest(), timeout=PATIENCE_S)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await sight.ListEdges(pb.ListEdgesRequest(), timeout=PATIENCE_S)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await sight.DumpClient(pb.DumpClientRequest(), timeout=PATIENCE_S)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_client_that_does_not_follow_is_not_found(tmp_path: Path) -> None:
    async with a_mesh(tmp_path) as (plane, _), asking(plane) as sight:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await sight.DumpClient(pb.DumpClientRequest(node_id="nobody"), timeout=PATIENCE_S)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
