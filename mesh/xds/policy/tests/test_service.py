"""The policy as operators keep it: applied, refused, rolled back, remembered."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from google.protobuf.any_pb2 import Any as Packed

from mesh.errors import InvalidArgument, PermissionDenied
from mesh.events.jetstream import Jetstream
from mesh.rpc.status import error_of
from mesh.testing.nats import NatsServer, nats_server
from mesh.xds.policy.bucket import Bucket
from mesh.xds.policy.tests.mesh import Mesh, answers, reaches
from mesh.xds.resources import CDS
from mesh.xds.sight import clients_of
from mesh.xds.tests.waiting import PATIENCE_S, until
from meshapi.v1 import policy_pb2 as pb
from meshapi.v1 import sight_pb2

__all__ = ["nats_server"]


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    async with Mesh(tmp_path) as mesh:
        yield mesh


def to(version: str) -> pb.ServicePolicy:
    return pb.ServicePolicy(service="echo", split=[pb.VersionWeight(version=version, weight=100)])


async def two_versions(mesh: Mesh) -> None:
    await mesh.instance("a", "v1")
    await mesh.instance("b", "v2")


def of_now(mesh: Mesh) -> pb.PolicyRevision:
    return mesh.plane.policies.book.current


async def test_every_change_is_kept_with_its_author_and_reason_and_can_be_undone(
    mesh: Mesh,
) -> None:
    await two_versions(mesh)
    client = await mesh.client()
    stub = await mesh.stub()

    first = await mesh.apply(to("v1"), reason="all to v1")
    await mesh.apply(to("v2"), reason="all to v2")
    await reaches(client, "b")
    diff = await stub.DiffPolicy(pb.DiffPolicyRequest(), timeout=PATIENCE_S)
    back = await stub.RollbackPolicy(
        pb.RollbackPolicyRequest(author="sre", reason="v2 is odd"), timeout=PATIENCE_S
    )
    await reaches(client, "a")

    assert [line.strip() for line in diff.lines if line[:2] in ("- ", "+ ")] == [
        '-          "version": "v1",',
        '+          "version": "v2",',
    ]
    listed = await stub.ListPolicyRevisions(pb.ListPolicyRevisionsRequest(), timeout=PATIENCE_S)
    assert [(each.revision, each.author, each.reason) for each in listed.revisions] == [
        (3, "sre", "v2 is odd"),
        (2, "test", "all to v2"),
        (1, "test", "all to v1"),
    ]
    assert all(each.applied_at.seconds for each in listed.revisions)
    assert back.current.policy == first.policy


async def test_a_refusal_names_field_client_and_version_and_changes_nothing(mesh: Mesh) -> None:
    await two_versions(mesh)
    client = await mesh.client()
    await answers(client)
    bad = to("v1")
    bad.load_balancing.algorithm = pb.LOAD_BALANCER_LEAST_REQUEST

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await mesh.apply(bad)

    error = error_of(caught.value)
    assert isinstance(error, InvalidArgument)
    assert error.reason == "POLICY_REFUSED"
    (violation,) = error.violations
    assert violation.field == "services[echo].load_balancing.algorithm"
    assert violation.description.startswith("gRPC C-core")
    assert "(client-0)" in violation.description
    assert of_now(mesh).revision == 0
    assert set(await answers(client, n=20)) == {"a", "b"}


async def test_only_an_operator_may_ask(mesh: Mesh) -> None:
    stub = await mesh.stub("accounts")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetPolicy(pb.GetPolicyRequest(), timeout=PATIENCE_S)

    assert isinstance(error_of(caught.value), PermissionDenied)


async def test_two_operators_do_not_undo_each_others_changes(mesh: Mesh) -> None:
    await two_versions(mesh)
    stub = await mesh.stub()
    await mesh.apply(to("v1"))
    await mesh.apply(to("v2"))
    late = pb.ApplyPolicyRequest(policy=pb.MeshPolicy(services=[to("v1")]), expected_revision=1)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ApplyPolicy(late, timeout=PATIENCE_S)

    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error_of(caught.value).reason == "POLICY_CHANGED"


async def test_a_test_tells_what_would_become_of_a_call_and_a_dry_run_changes_nothing(
    mesh: Mesh,
) -> None:
    await two_versions(mesh)
    stub = await mesh.stub()
    proposed = to("v1")
    canary = pb.HeaderMatch(name="x-canary", exact="yes")
    v2 = pb.VersionWeight(version="v2", weight=1)
    proposed.routes.add(name="canary", headers=[canary], to=[v2])
    policy = pb.MeshPolicy(services=[proposed])

    async def told(**headers: str) -> pb.TestPolicyResponse:
        request = pb.TestPolicyRequest(service="echo", method="Get", policy=policy)
        request.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
        response: pb.TestPolicyResponse = await stub.TestPolicy(request, timeout=PATIENCE_S)
        return response

    plain, chosen = await told(), await told(x_canary="yes")
    await stub.ApplyPolicy(pb.ApplyPolicyRequest(policy=policy, dry_run=True), timeout=PATIENCE_S)

    assert (plain.route, plain.retry.num_retries) == ("", 3)
    assert [(each.version, each.percent) for each in plain.destinations] == [("v1", 100)]
    assert chosen.route == "canary"
    assert [list(each.instances) for each in chosen.destinations] == [["b"]]
    assert of_now(mesh).revision == 0


async def test_a_bad_push_is_refused_by_the_client_seen_and_harmless(mesh: Mesh) -> None:
    await two_versions(mesh)
    await mesh.apply(to("v2"))
    client = await mesh.client()
    await reaches(client, "b")
    (follower,) = mesh.plane.publisher.clients
    clusters = follower.subscriptions[CDS]
    snapshot = mesh.plane.publisher.snapshot
    await client.do("begin")

    good = snapshot.find(CDS, ["echo/v2"])["echo/v2"].body
    cluster = Cluster.FromString(good.value)
    cluster.lb_policy = Cluster.LEAST_REQUEST
    bad = Packed()
    bad.Pack(cluster)
    snapshot.put(CDS, "echo/v2", bad)
    mesh.plane.publisher.wake()

    await until(lambda: clusters.refusals > 0)
    assert "LB policy is not supported" in clusters.refusal
    await reaches(client, "b")
    assert set((await client.do("end"))["answers"]) == {"b"}


async def test_what_is_forced_fails_no_call_and_shows_as_nacked_or_ignored(mesh: Mesh) -> None:
    await two_versions(mesh)
    await mesh.apply(to("v2"))
    client = await mesh.client()
    await reaches(client, "b")
    await client.do("begin")
    least, weights, mirror, consecutive = to("v2"), to("v2"), to("v2"), to("v2")
    least.load_balancing.algorithm = pb.LOAD_BALANCER_LEAST_REQUEST
    weights.load_balancing.endpoint_weights.add(instance_id="b", weight=9)
    mirror.mirror.CopyFrom(pb.Mirror(to="v1", percent=50, by_xds=True))
    consecutive.outlier.consecutive_5xx = 5

    for told, state, type in (
        (weights, sight_pb2.SYNC_STATE_IGNORED, "eds"),
        (mirror, sight_pb2.SYNC_STATE_IGNORED, "rds"),
        (consecutive, sight_pb2.SYNC_STATE_IGNORED, "cds"),
        (least, sight_pb2.SYNC_STATE_NACKED, "cds"),
    ):
        with pytest.raises(grpc.aio.AioRpcError):
            await mesh.apply(told)
        assert (await mesh.apply(told, force=True)).forced

        def shows(state: int = state, type: str = type) -> bool:
            (seen,) = clients_of(mesh.plane.publisher).clients
            (entry,) = [each for each in seen.types if each.type == type]
            return entry.state == state and bool(entry.error)

        await until(shows)
    assert not (await mesh.apply(to("v2"))).forced
    await reaches(client, "b")
    assert set((await client.do("end"))["answers"]) == {"b"}


async def test_the_policy_outlives_the_control_plane(mesh: Mesh) -> None:
    await two_versions(mesh)
    await mesh.apply(to("v2"), reason="before the restart")
    client = await mesh.client()
    await reaches(client, "b")
    await client.do("begin")

    await mesh.restart_plane()

    assert of_now(mesh).reason == "before the restart"
    await until(lambda: len(mesh.plane.publisher.clients) == 1)
    fresh = await mesh.client()
    await reaches(fresh, "b")
    assert set((await client.do("end"))["answers"]) == {"b"}


async def test_with_nats_gone_the_last_policy_goes_on_and_cannot_be_changed(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    async with Mesh(tmp_path, nats_url=nats_server.url) as mesh:
        await two_versions(mesh)
        await mesh.apply(to("v2"), reason="kept")
        client = await mesh.client()
        await reaches(client, "b")

        nats_server.kill()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await mesh.apply(to("v1"))
        await mesh.restart_plane()

        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert of_now(mesh).reason == "kept"
        await reaches(client, "b")

        nats_server.start()
        await until(lambda: mesh.plane.policies.book.problem == "")
        await until(lambda: len(mesh.plane.publisher.catalogue.services["echo"].endpoints) == 2)
        revision = await mesh.apply(to("v1"), reason="after the return")
        assert revision.revision == 2
        await reaches(client, "a")


async def written(url: str, last: int, document: dict[str, Any]) -> int:
    """Puts something into the bucket by another way than the control plane."""
    jetstream = Jetstream(url, service="somebody")
    await jetstream.start()
    try:
        return await Bucket(jetstream).write(json.dumps(document).encode(), last)
    finally:
        await jetstream.stop()


async def test_a_change_of_the_bucket_is_followed_unless_a_client_would_choke_on_it(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    async with Mesh(tmp_path, nats_url=nats_server.url) as mesh:
        await two_versions(mesh)
        first = await mesh.apply(to("v1"))
        client = await mesh.client()
        await reaches(client, "a")
        book = mesh.plane.policies.book

        split: dict[str, Any] = {"service": "echo", "split": [{"version": "v2", "weight": 1}]}
        document = {"policy": {"services": [split]}, "author": "another control plane"}
        second = await written(nats_server.url, first.revision, document)
        await reaches(client, "b")
        assert of_now(mesh).author == "another control plane"

        split["load_balancing"] = {"algorithm": "LOAD_BALANCER_LEAST_REQUEST"}
        third = await written(nats_server.url, second, document)
        await until(lambda: f"revision {third} is not followed" in book.problem)
        assert "is NACKed" in book.problem
        assert of_now(mesh).revision == second
        await reaches(client, "b")

        await mesh.apply(to("v1"), reason="corrected")
        assert book.problem == ""
        await reaches(client, "a")


async def test_a_new_control_plane_speaks_only_when_it_has_read_the_bucket(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    async with Mesh(tmp_path / "one", nats_url=nats_server.url) as mesh:
        await two_versions(mesh)
        await mesh.apply(to("v2"), reason="of the first")

    async with Mesh(tmp_path / "two", nats_url=nats_server.url, silence_s=10.0) as mesh:
        assert of_now(mesh).reason == "of the first"
        assert [each.service for each in mesh.plane.publisher.policy.services] == ["echo"]


async def test_a_bucket_that_lost_its_data_is_filled_again(
    tmp_path: Path, nats_server: NatsServer
) -> None:
    async with Mesh(tmp_path, nats_url=nats_server.url) as mesh:
        await two_versions(mesh)
        await mesh.apply(to("v1"))
        await mesh.apply(to("v2"), reason="kept")
        book = mesh.plane.policies.book

        nats_server.kill()
        shutil.rmtree(tmp_path / "nats" / "jetstream")
        nats_server.start()
        await until(lambda: "the bucket is empty" in book.problem)
        assert book.current.reason == "kept"

        revision = await mesh.apply(to("v1"), reason="anew")
        assert (revision.revision, book.current, book.problem) == (1, revision, "")


async def test_without_nats_a_control_plane_starts_all_the_same(tmp_path: Path) -> None:
    async with asyncio.timeout(PATIENCE_S):
        async with Mesh(tmp_path, nats_url="nats://127.0.0.1:1", silence_s=0.2) as mesh:
            assert of_now(mesh).revision == 0
            assert mesh.plane.policies.book.problem
