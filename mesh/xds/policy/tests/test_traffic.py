"""What clients do with the policy: real gRPC clients, real servers, mutual TLS, over sockets."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.clock import now_us
from mesh.xds.policy.tests.mesh import Mesh, answers, reaches
from mesh.xds.tests.waiting import until
from meshapi.v1 import policy_pb2 as pb


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    async with Mesh(tmp_path) as mesh:
        yield mesh


def split(**weights: int) -> pb.ServicePolicy:
    shares = [pb.VersionWeight(version=version, weight=each) for version, each in weights.items()]
    return pb.ServicePolicy(service="echo", split=shares)


def a_fault(abort_percent: float = 100, seconds: float = 600, **fields: object) -> pb.Fault:
    fault = pb.Fault(abort="UNAVAILABLE", abort_percent=abort_percent)
    fault.MergeFrom(pb.Fault(**fields))  # type: ignore[arg-type]
    fault.expires_at.FromMicroseconds(now_us() + round(seconds * 1e6))
    return fault


def faulty(*faults: pb.Fault) -> pb.ServicePolicy:
    return pb.ServicePolicy(service="echo", faults=faults)


async def two_versions(mesh: Mesh) -> None:
    await mesh.instance("a", "v1")
    await mesh.instance("b", "v2")


async def test_a_split_is_kept_and_a_shift_is_followed(mesh: Mesh) -> None:
    await two_versions(mesh)
    client = await mesh.client()
    await mesh.apply(split(v1=90, v2=10))

    counted = await answers(client, n=5_000, width=10)

    assert set(counted) == {"a", "b"}
    assert abs(counted["b"] / 5_000 - 0.10) <= 0.015

    took = []
    for shares, there in ((split(v1=0, v2=1), "b"), (split(v1=1, v2=0), "a")) * 3:
        began = time.time()
        await mesh.apply(shares)
        took.append(await reaches(client, there) - began)
    assert statistics.median(took) < 1.0


async def test_a_shift_and_a_drain_of_a_version_fail_no_call(mesh: Mesh) -> None:
    await mesh.instance("a", "v1")
    second = await mesh.instance("b", "v2")
    await mesh.apply(split(v1=50, v2=50))
    client = await mesh.client()
    # Never repeated by the mesh: what fails is seen.
    await client.do("begin", method="Do")

    for weight in (0, 100, 20, 50):
        await mesh.apply(split(v1=100 - weight, v2=weight))
    # The split names a version that is going: its share falls to the other.
    await second.leave()
    await reaches(client, "a", method="Do")

    assert set((await client.do("end"))["answers"]) == {"a", "b"}


async def test_headers_and_methods_route_exactly(mesh: Mesh) -> None:
    await two_versions(mesh)
    client = await mesh.client()
    to_v2 = [pb.VersionWeight(version="v2", weight=1)]
    canary = pb.HeaderMatch(name="x-canary", exact="yes")
    gold = pb.HeaderMatch(name="x-tenant", regex="gold-.*")
    policy = split(v1=1)
    policy.routes.add(name="canary", methods=["Get"], headers=[canary], to=to_v2)
    policy.routes.add(name="gold", headers=[gold], to=to_v2)

    await mesh.apply(policy)

    async def goes(method: str, *headers: tuple[str, str]) -> dict[str, int]:
        return await answers(client, n=50, method=method, headers=headers)

    assert await goes("Get") == {"a": 50}
    assert await goes("Get", ("x-canary", "yes")) == {"b": 50}
    assert await goes("Get", ("x-canary", "no")) == {"a": 50}
    assert await goes("Do", ("x-canary", "yes")) == {"a": 50}
    assert await goes("Do", ("x-tenant", "gold-7")) == {"b": 50}
    assert await goes("Do", ("x-tenant", "iron")) == {"a": 50}


async def test_a_fault_aborts_so_many_percent_and_a_changed_percentage_is_followed(
    mesh: Mesh,
) -> None:
    await mesh.instance("a")
    client = await mesh.client()
    fault = "UNAVAILABLE: Fault injected"

    await mesh.apply(faulty(a_fault(abort_percent=20)))
    assert abs((await answers(client, n=1_000, width=10))[fault] - 200) < 70

    # A client takes a fault for the same when only its percentage of aborts differs.
    await mesh.apply(faulty(a_fault(abort_percent=60)))
    assert abs((await answers(client, n=1_000, width=10))[fault] - 600) < 70


async def test_a_fault_is_for_some_calls_only_and_ends_by_itself(mesh: Mesh) -> None:
    await mesh.instance("a")
    client = await mesh.client()
    chaos = pb.HeaderMatch(name="x-chaos", exact="yes")
    # A process takes its time to start.
    await answers(client)

    await mesh.apply(faulty(a_fault(methods=["Do"], headers=[chaos], seconds=2)))

    gated = {"method": "Do", "headers": [("x-chaos", "yes")]}
    assert await answers(client, n=20, **gated) == {"UNAVAILABLE: Fault injected": 20}
    assert await answers(client, n=20, method="Do") == {"a": 20}
    assert await answers(client, n=20, headers=[("x-chaos", "yes")]) == {"a": 20}
    await reaches(client, "a", **gated)


async def test_a_fault_delays_so_many_percent(mesh: Mesh) -> None:
    await mesh.instance("a")
    client = await mesh.client()
    fault = pb.Fault(delay_percent=50)
    fault.delay.FromMilliseconds(400)
    fault.expires_at.FromMicroseconds(now_us() + 60_000_000)

    await mesh.apply(faulty(fault))

    counted = await client.do("call", n=200, width=50, slow_s=0.4)
    assert counted["answers"] == {"a": 200}
    assert 60 <= counted["slow"] <= 140


async def test_a_ring_hash_sends_a_key_to_one_instance(mesh: Mesh) -> None:
    for name in "abc":
        await mesh.instance(name)
    client = await mesh.client()
    policy = pb.ServicePolicy(service="echo")
    policy.load_balancing.algorithm = pb.LOAD_BALANCER_RING_HASH
    policy.load_balancing.hash_header = "x-account"

    await mesh.apply(policy)

    async def instances(account: int) -> set[str]:
        headers = [("x-account", f"account-{account}")]
        return set(await answers(client, n=10, headers=headers))

    found = [await instances(account) for account in range(30)]
    assert {len(each) for each in found} == {1}
    assert set().union(*found) == {"a", "b", "c"}
    assert [await instances(account) for account in range(30)] == found


async def test_the_own_zone_is_called_until_it_is_gone(mesh: Mesh) -> None:
    near = await mesh.instance("a", zone="z1")
    await mesh.instance("b", zone="z2")
    await mesh.instance("c", zone="z3")
    client, far = await mesh.client("z1"), await mesh.client("z2")
    policy = pb.ServicePolicy(service="echo")
    policy.zones.own_first = True
    policy.zones.failover.append("z3")

    await mesh.apply(policy)

    assert await answers(client, n=50) == {"a": 50}
    assert await answers(far, n=50) == {"b": 50}
    await near.end()
    await reaches(client, "c")
    await mesh.instance("a2", zone="z1")
    await reaches(client, "a2")


async def test_zones_are_called_by_their_weights(mesh: Mesh) -> None:
    await mesh.instance("a", zone="z1")
    await mesh.instance("b", zone="z2")
    client = await mesh.client()
    policy = pb.ServicePolicy(service="echo")
    policy.zones.weights.add(zone="z1", weight=3)
    policy.zones.weights.add(zone="z2", weight=1)

    await mesh.apply(policy)

    assert abs((await answers(client, n=1_000, width=10))["a"] - 750) < 80


async def test_a_process_asks_no_more_at_once_than_it_may(mesh: Mesh) -> None:
    await mesh.instance("a")
    client = await mesh.client()
    policy = pb.ServicePolicy(service="echo")
    policy.circuit_breaker.max_requests = 5
    await mesh.apply(policy)
    await answers(client)

    counted = await answers(client, n=40, width=40, method="Do", what="slow:0.5")

    assert counted == {"a": 5, "UNAVAILABLE: circuit breaker drop": 35}


async def test_repetitions_are_as_many_as_the_rule_says(mesh: Mesh) -> None:
    instance = await mesh.instance("a")
    instance.failing_percent = 100
    client = await mesh.client()

    async def comes_to(attempts: int, rule: pb.RetryRule) -> None:
        async def holds() -> bool:
            instance.calls = 0
            assert await answers(client) == {"UNAVAILABLE: broken": 1}
            return instance.calls == attempts

        await mesh.apply(pb.ServicePolicy(service="echo", retries=[rule]))
        await until(holds)

    await comes_to(3, pb.RetryRule(num_retries=2))
    await comes_to(5, pb.RetryRule(methods=["Get"], num_retries=4))
    await comes_to(1, pb.RetryRule(off=True))


async def test_an_instance_that_fails_is_ejected_and_returns(mesh: Mesh) -> None:
    good, bad = await mesh.instance("a"), await mesh.instance("b")
    policy = pb.ServicePolicy(service="echo")
    policy.outlier.failure_percent = 50
    policy.outlier.minimum_calls = 10
    policy.outlier.interval.FromMilliseconds(300)
    policy.outlier.ejection.FromMilliseconds(600)
    await mesh.apply(policy)
    client = await mesh.client()
    bad.failing_percent = 100
    await client.do("begin", method="Do")

    await reaches(client, "a", method="Do")
    bad.failing_percent = 0
    await until(lambda: good.calls > 0)
    await client.do("counted")

    async def is_back() -> bool:
        return "b" in (await client.do("counted"))["answers"]

    await until(is_back)
    await client.do("end")
