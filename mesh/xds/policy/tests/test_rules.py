"""What is refused, each with its reason."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.xds.catalogue import Endpoint, Method, Service
from mesh.xds.policy.capabilities import Seen
from mesh.xds.policy.document import from_json
from mesh.xds.policy.rules import World, in_vain, objections, unfit, warnings_of
from meshapi.v1 import policy_pb2 as pb

PYTHON = Seen("gRPC C-core linux", "1.85.1", "accounts-1")
GO = Seen("gRPC Go", "1.70.0", "audit-1")
NOW_US = 1_800_000_000_000_000
SOON = "2027-01-15T09:00:00Z"

METHODS = (
    Method(path="/t.T/Get", retriable=True, no_side_effects=True),
    Method(path="/t.T/Do", retriable=False),
    Method(path="/u.U/Do", retriable=False),
)


def an_endpoint(instance_id: str, version: str, zone: str, *, draining: bool = False) -> Endpoint:
    return Endpoint(
        instance_id=instance_id,
        host="127.0.0.1",
        port=1,
        version=version,
        zone=zone,
        draining=draining,
    )


ENDPOINTS = {
    "a": an_endpoint("a", "v1", "z1"),
    "b": an_endpoint("b", "v2", "z2"),
    "c": an_endpoint("c", "v3", "z1", draining=True),
}
SERVICES = {"t": Service(name="t", methods=METHODS, endpoints=ENDPOINTS)}
WORLD = World(services=SERVICES, clients=[PYTHON], now_us=NOW_US)


def of(told: dict[str, Any]) -> pb.MeshPolicy:
    return from_json({"services": [{"service": "t", **told}]})


def refusals(told: dict[str, Any], world: World = WORLD) -> dict[str, str]:
    found = objections(of(told), world, pb.MeshPolicy())
    found += in_vain(of(told), world, pb.MeshPolicy())
    return {each.field.removeprefix("services[t]."): each.description for each in found}


FAULT = {"abort": "UNAVAILABLE", "abort_percent": 10, "expires_at": SOON}
BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"load_balancing": {"algorithm": 3}}, "load_balancing.algorithm", "is NACKed"),
    (
        {"load_balancing": {"endpoint_weights": [{"instance_id": "a", "weight": 9}]}},
        "load_balancing.endpoint_weights",
        "ignored in a round robin",
    ),
    ({"load_balancing": {"algorithm": 2}}, "load_balancing.hash_header", "needs the header"),
    ({"load_balancing": {"hash_header": "x"}}, "load_balancing.hash_header", "ignored without"),
    (
        {"mirror": {"to": "v2", "percent": 5, "by_xds": True}},
        "mirror.by_xds",
        "chassis makes the copies",
    ),
    ({"mirror": {"to": "v2"}}, "mirror.percent", "above 0"),
    ({"mirror": {"percent": 5}}, "mirror", "either a version"),
    ({"mirror": {"to": "v2", "service": "s", "percent": 5}}, "mirror", "either a version"),
    ({"mirror": {"service": "t", "percent": 5}}, "mirror.service", "itself"),
    ({"mirror": {"to": "v9", "percent": 5}}, "mirror.to", "up: v1, v2"),
    (
        {"mirror": {"service": "s", "percent": 5, "methods": ["/t.T/Do"]}},
        "mirror.methods",
        "NO_SIDE_EFFECTS",
    ),
    (
        {"mirror": {"to": "v2", "percent": 5, "methods": ["/t.T/Do"], "with_side_effects": True}},
        "mirror.with_side_effects",
        "change the same data again",
    ),
    ({"timeouts": [{"timeout": "1s"}]}, "timeouts", "deadlines are the contract's"),
    ({"outlier": {"consecutive_5xx": 5}}, "outlier.consecutive_5xx", "ignored"),
    ({"outlier": {"interval": "0.01s"}}, "outlier.interval", "less than 100 ms"),
    ({"outlier": {"failure_percent": 101}}, "outlier.failure_percent", "more than 100"),
    ({"retries": [{}]}, "retries[0].num_retries", "0 is NACKed"),
    ({"retries": [{"num_retries": 5}]}, "retries[0].num_retries", "at most 5 attempts"),
    (
        {"retries": [{"num_retries": 1, "base_interval": "0.001s"}]},
        "retries[0].base_interval",
        "grpc#41036",
    ),
    (
        {"retries": [{"num_retries": 1, "retry_on": ["5xx"]}]},
        "retries[0].retry_on",
        "'5xx' is ignored",
    ),
    (
        {"retries": [{"num_retries": 1, "methods": ["/t.T/Do"]}]},
        "retries[0].methods",
        "does not call it idempotent",
    ),
    ({"circuit_breaker": {}}, "circuit_breaker.max_requests", "no call"),
    ({"zones": {"weights": [{"zone": "z1", "weight": 1}]}}, "zones.weights", "'z2' has instances"),
    ({"zones": {"weights": [{"zone": "z1"}, {"zone": "z2"}]}}, "zones.weights", "drop a zone"),
    ({"zones": {"failover": ["z2"]}}, "zones.failover", "without own_first"),
    ({"split": [{"version": "v9", "weight": 1}]}, "split[0].version", "up: v1, v2"),
    ({"split": [{"version": "v3", "weight": 1}]}, "split[0].version", "no instance of"),
    ({"split": [{"version": "v1"}]}, "split", "must sum up"),
    ({"split": [{"version": "a/b", "weight": 1}]}, "split", "is no version"),
    ({"routes": [{"methods": ["Get"]}]}, "routes[0].to", "nowhere"),
    (
        {"routes": [{"methods": ["Go"], "to": [{"version": "v1", "weight": 1}]}]},
        "routes[0].methods",
        "known: Get, Do, Do",
    ),
    (
        {"routes": [{"methods": ["Do"], "to": [{"version": "v1", "weight": 1}]}]},
        "routes[0].methods",
        "several methods",
    ),
    ({"faults": [{**FAULT, "expires_at": None}]}, "faults[0].expires_at", "must end by itself"),
    (
        {"faults": [{**FAULT, "expires_at": "2030-01-01T00:00:00Z"}]},
        "faults[0].expires_at",
        "within a day",
    ),
    ({"faults": [{**FAULT, "abort": "BROKEN"}]}, "faults[0].abort", "no status"),
    ({"faults": [{**FAULT, "abort_percent": 0}]}, "faults[0].abort_percent", "above 0"),
    ({"faults": [{**FAULT, "delay": "90s", "delay_percent": 5}]}, "faults[0].delay", "60 s"),
    (
        {"faults": [{**FAULT, "headers": [{"name": "user-agent", "exact": "x"}]}]},
        "faults[0].headers",
        "do not match",
    ),
    (
        {"faults": [{**FAULT, "headers": [{"name": "x", "regex": "(?=a)"}]}]},
        "faults[0].headers",
        "no RE2",
    ),
    ({"faults": [{**FAULT, "headers": [{"name": "x"}]}]}, "faults[0].headers", "nothing is asked"),
    ({"canary": {"from": "v1", "to": "v1", "steps": [{"weight": 5}]}}, "canary.to", "of before"),
    ({"canary": {"from": "v1", "to": "v2", "steps": []}}, "canary.steps", "growing"),
    ({"canary": {"from": "v1", "to": "v9", "steps": [{"weight": 5}]}}, "canary.to", "up: v1"),
    (
        {"canary": {"from": "v1", "to": "v2", "steps": [{"weight": 5}], "max_latency_factor": 0.5}},
        "canary.max_latency_factor",
        "below 1",
    ),
]


@pytest.mark.parametrize(("told", "field", "why"), BAD, ids=lambda each: str(each)[:60])
def test_it_is_refused_with_its_reason(told: dict[str, Any], field: str, why: str) -> None:
    found = refusals(told)

    assert field in found
    assert why in found[field]


GOOD: list[dict[str, Any]] = [
    {"split": [{"version": "v1", "weight": 9}, {"version": "v2", "weight": 1}]},
    {"split": [{"version": "v1", "weight": 1}, {"version": "v9"}]},
    {"routes": [{"methods": ["/u.U/Do"], "to": [{"version": "v2", "weight": 1}]}]},
    {"retries": [{"num_retries": 1, "methods": ["Get"]}, {"off": True}]},
    {"faults": [FAULT]},
    {"outlier": {"failure_percent": 60, "minimum_calls": 10}},
    {"circuit_breaker": {"max_requests": 10}},
    {
        "load_balancing": {
            "algorithm": 2,
            "hash_header": "x-account",
            "endpoint_weights": [{"instance_id": "a", "weight": 3}],
        }
    },
    {"mirror": {"to": "v2", "percent": 5}},
    {"mirror": {"service": "s", "percent": 5, "methods": ["/t.T/Do"], "with_side_effects": True}},
    {"zones": {"own_first": True, "failover": ["z2"]}},
    {"canary": {"from": "v1", "to": "v2", "steps": [{"weight": 5}, {"weight": 50}]}},
]


@pytest.mark.parametrize("told", GOOD, ids=lambda each: str(each)[:60])
def test_it_is_allowed(told: dict[str, Any]) -> None:
    assert refusals(told) == {}


def test_a_refusal_names_the_client_its_version_and_an_example() -> None:
    found = refusals({"load_balancing": {"algorithm": 3}})

    assert found["load_balancing.algorithm"].startswith("gRPC C-core linux 1.85.1 (accounts-1): ")


def test_it_depends_on_the_clients_what_is_refused() -> None:
    least_request = {"load_balancing": {"algorithm": 3}}
    only_go = World(services=SERVICES, clients=[GO], now_us=NOW_US)
    both = World(services=SERVICES, clients=[GO, PYTHON], now_us=NOW_US)

    assert refusals(least_request, only_go) == {}
    assert "load_balancing.algorithm" in refusals(least_request, both)


def test_a_service_that_nobody_knows_and_one_named_twice_are_refused() -> None:
    twice = from_json({"services": [{"service": "t"}, {"service": "t"}]})

    found = objections(from_json({"services": [{"service": "x"}]}), WORLD, pb.MeshPolicy())
    assert found[0].description == "no such service ever registered"
    assert unfit(twice, WORLD)[0].description == "is there more than once"


def test_what_was_allowed_once_does_not_keep_another_change_from_being_made() -> None:
    before = of({"split": [{"version": "v9", "weight": 1}]})

    assert objections(before, WORLD, before) == []


def test_a_low_threshold_is_warned_of() -> None:
    low, high = (of({"outlier": {"failure_percent": percent}}) for percent in (20, 60))

    assert warnings_of(low, high)
    assert not warnings_of(low, low)
    assert not warnings_of(high, low)
