"""The order of a service's routes, its zones, and what a policy leaves unsaid."""

from __future__ import annotations

from mesh.xds.catalogue import Endpoint, Method, Service
from mesh.xds.policy.document import differences, next_expiry_us, pruned
from mesh.xds.policy.lanes import lanes_of
from mesh.xds.resources import EDS, resources_of
from mesh.xds.snapshot import Snapshot
from mesh.xds.zones import groups
from meshapi.v1 import policy_pb2 as pb

GET = Method(path="/t.T/Get", retriable=True)
DO = Method(path="/t.T/Do", retriable=False)


def an_endpoint(
    instance_id: str, version: str = "v1", zone: str = "z1", *, draining: bool = False
) -> Endpoint:
    return Endpoint(
        instance_id=instance_id,
        host="127.0.0.1",
        port=ord(instance_id),
        version=version,
        zone=zone,
        draining=draining,
    )


def a_service(*endpoints: Endpoint) -> Service:
    return Service(
        name="t", methods=(DO, GET), endpoints={each.instance_id: each for each in endpoints}
    )


BOTH = a_service(an_endpoint("a"), an_endpoint("b", "v2"))


def split(**weights: int) -> pb.ServicePolicy:
    shares = [pb.VersionWeight(version=version, weight=each) for version, each in weights.items()]
    return pb.ServicePolicy(service="t", split=shares)


def walked(policy: pb.ServicePolicy, service: Service = BOTH) -> list[tuple[str, str, int, bool]]:
    """Each lane: its path, the headers that it asks for, its retries, whether it has a fault."""
    return [
        (
            lane.path.rpartition("/")[2],
            " ".join(match.name for match in lane.headers),
            lane.retry.num_retries if lane.retry else 0,
            lane.fault is not None,
        )
        for lane in lanes_of(service, policy)
    ]


def test_without_a_policy_only_what_may_be_repeated_is_told_apart() -> None:
    assert walked(pb.ServicePolicy()) == [("Get", "", 3, False), ("", "", 0, False)]


def test_what_fewer_calls_take_comes_first() -> None:
    policy = split(v1=1)
    canary = pb.HeaderMatch(name="x-canary", exact="yes")
    chaos = pb.HeaderMatch(name="x-chaos", present=True)
    policy.routes.add(headers=[canary]).to.add(version="v2", weight=1)
    policy.faults.add(methods=["Do"], headers=[chaos], abort="ABORTED", abort_percent=1)

    assert walked(policy) == [
        ("Do", "x-canary x-chaos", 0, True),
        ("Do", "x-canary", 0, False),
        ("Get", "x-canary", 3, False),
        ("", "x-canary", 0, False),
        ("Do", "x-chaos", 0, True),
        ("Do", "", 0, False),
        ("Get", "", 3, False),
        ("", "", 0, False),
    ]


def test_after_a_fault_for_all_calls_nothing_else_is_reached() -> None:
    policy = pb.ServicePolicy(service="t")
    policy.faults.add(abort="ABORTED", abort_percent=1)
    policy.faults.add(methods=["Get"], abort="INTERNAL", abort_percent=1)

    faults = [lane.fault.abort for lane in lanes_of(BOTH, policy) if lane.fault]
    assert faults == ["ABORTED", "ABORTED"]


def test_the_first_rule_that_names_a_method_is_its_own() -> None:
    policy = pb.ServicePolicy(service="t")
    policy.retries.add(methods=["Get"], num_retries=1)
    policy.retries.add(off=True)
    assert walked(policy)[0] == ("Get", "", 1, False)

    del policy.retries[0]
    assert walked(policy) == [("", "", 0, False)]


def test_the_share_of_a_version_without_instances_falls_to_the_others() -> None:
    def shares(*endpoints: Endpoint) -> tuple[tuple[str, int], ...]:
        return lanes_of(a_service(*endpoints), split(v1=90, v2=10))[-1].shares

    first, second = an_endpoint("a"), an_endpoint("b", "v2")
    assert shares(first, second) == (("t/v1", 90), ("t/v2", 10))
    assert shares(first) == (("t/v1", 90),)
    assert shares(first, an_endpoint("b", "v2", draining=True)) == (("t/v1", 90),)
    assert shares(an_endpoint("c", "v3")) == (("t", 1),)


def test_a_route_whose_methods_are_gone_takes_nothing() -> None:
    policy = pb.ServicePolicy(service="t")
    policy.routes.add(methods=["Gone"]).to.add(version="v2", weight=1)

    assert walked(policy) == walked(pb.ServicePolicy())


def ranked(zone: str, *endpoints: Endpoint) -> dict[str, int]:
    told = pb.ZonePreference(own_first=True, failover=["z3"])
    ordered = sorted(endpoints, key=lambda each: each.zone)
    return {group.zone: group.priority for group in groups(ordered, told, zone)}


def test_zones_come_in_the_callers_order_without_gaps() -> None:
    near, far = an_endpoint("a", zone="z1"), an_endpoint("b", zone="z2")
    third = an_endpoint("c", zone="z3")

    assert ranked("z1", near, far, third) == {"z1": 0, "z3": 1, "z2": 2}
    assert ranked("z2", near, far, third) == {"z2": 0, "z3": 1, "z1": 2}
    assert ranked("z9", near, far) == {"z1": 0, "z2": 0}
    assert ranked("", near, far) == {"z1": 0, "z2": 0}
    leaving = an_endpoint("a", zone="z1", draining=True)
    assert ranked("z1", leaving, far) == {"z1": 1, "z2": 0}


def test_clients_of_a_zone_fall_back_to_the_list_of_all_when_theirs_ends() -> None:
    service = a_service(an_endpoint("a", zone="z1"), an_endpoint("b", zone="z2"))
    policy = pb.ServicePolicy(service="t", zones=pb.ZonePreference(own_first=True))
    snapshot = Snapshot()
    snapshot.update(resources_of(service, policy, zones=["z1"]))
    before = snapshot.version_of(EDS, "t", "z1")
    assert before != snapshot.version_of(EDS, "t", "z2")

    snapshot.update(resources_of(service))

    assert snapshot.version_of(EDS, "t", "z1") == snapshot.version_of(EDS, "t", "z2") > before


def test_faults_end_and_empty_services_are_left_out() -> None:
    policy = pb.MeshPolicy(services=[pb.ServicePolicy(service="u"), split(v1=1)])
    faulty = policy.services.add(service="s")
    faulty.faults.add(abort="ABORTED").expires_at.FromMicroseconds(1_000)

    assert next_expiry_us(policy, 999) == 1_000
    assert next_expiry_us(policy, 1_000) is None
    assert [each.service for each in pruned(policy, 999).services] == ["s", "t"]
    assert [each.service for each in pruned(policy, 1_000).services] == ["t"]
    assert differences(pruned(policy, 1), pruned(policy, 2)) == []
