"""What is refused of a policy, and why: what a connected client would ignore or choke on, and what
would leave callers without an answer. A pure function.

A client does not say what it ignores (`grpc_xds_features.md`), so nobody else can.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import grpc
from google.protobuf.duration_pb2 import Duration

from mesh.errors import Violation
from mesh.xds.catalogue import Service
from mesh.xds.policy.capabilities import Seen, abilities
from mesh.xds.policy.document import of_service
from mesh.xds.policy.lacks import lacks_of
from mesh.xds.policy.lanes import method_paths, versions_up
from meshapi.v1 import policy_pb2 as pb

__all__ = ["World", "in_vain", "objections", "unfit", "warnings_of"]

_VERSION = re.compile(r"[\w.-]{1,40}")
_METRIC = re.compile(r"[a-zA-Z_:][\w:]{0,100}")
_HEADER = re.compile(r"[a-z0-9_.-]{1,100}")
# Neither look-around nor back-references: RE2 has none of them.
_NOT_RE2 = re.compile(r"\\[1-9]|\(\?(?!:)")
_RETRY_ON = ("cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable")
_MOST_RETRIES = 4
_LEAST_PAUSE_MS = 2
_MOST_WEIGHT = 1_000_000
_LONGEST_FAULT_US = 24 * 3_600 * 1_000_000
_LONGEST_DELAY_MS = 60_000
_LEAST_INTERVAL_MS = 100
_REFUSALS_PERCENT = 50

Found = Iterator[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class World:
    """What a policy is judged by: the services, the kinds of clients, and the time."""

    services: Mapping[str, Service]
    clients: Sequence[Seen]
    now_us: int


def objections(policy: pb.MeshPolicy, world: World, before: pb.MeshPolicy) -> list[Violation]:
    """Lists what is wrong with the services of a policy that differ from those of before: the
    field, and why. What is wrong for a client is another matter: `in_vain`.
    """
    found = _repeated(policy)
    for told in policy.services:
        if told == of_service(before, told.service):
            continue
        service = world.services.get(told.service)
        if service is None:
            found.append(Violation(f"services[{told.service}]", "no such service ever registered"))
            continue
        found += _located(told.service, _content(told, world))
        found += _located(told.service, _state(told, service))
    return found


def in_vain(policy: pb.MeshPolicy, world: World, before: pb.MeshPolicy) -> list[Violation]:
    """Lists what a client would refuse or ignore of what differs from before: the field, and why,
    with the client.
    """
    found = []
    for told in policy.services:
        if told != of_service(before, told.service):
            found += _located(told.service, _for_clients(told, world.clients))
    return found


def unfit(policy: pb.MeshPolicy, world: World) -> list[Violation]:
    """Lists what is wrong with a policy whatever runs now: what no control plane may follow,
    unless it was forced.
    """
    found = _repeated(policy) + in_vain(policy, world, pb.MeshPolicy())
    for told in policy.services:
        found += _located(told.service, _content(told, world))
    return found


def warnings_of(policy: pb.MeshPolicy, before: pb.MeshPolicy) -> list[str]:
    """Lists what is allowed, but worth a thought, of what differs from before."""
    return [
        f"services[{each.service}].outlier: every status but OK counts, business refusals too; "
        f"below {_REFUSALS_PERCENT} % healthy instances may be ejected"
        for each in policy.services
        if 0 < each.outlier.failure_percent < _REFUSALS_PERCENT
        and each.outlier != of_service(before, each.service).outlier
    ]


def _repeated(policy: pb.MeshPolicy) -> list[Violation]:
    counts = Counter(each.service for each in policy.services)
    return [
        Violation(f"services[{name}]", "is there more than once")
        for name, count in counts.items()
        if count > 1
    ]


def _located(service: str, found: Found) -> list[Violation]:
    return [Violation(f"services[{service}].{field}", why) for field, why in found]


def _content(told: pb.ServicePolicy, world: World) -> Found:
    """What is wrong with a policy, whatever runs now."""
    yield from _shares("split", told.split)
    for number, route in enumerate(told.routes):
        field = f"routes[{number}]"
        yield from _headers(f"{field}.headers", route.headers)
        yield from _shares(f"{field}.to", route.to)
        if not route.to:
            yield f"{field}.to", "it leads nowhere"
    for number, rule in enumerate(told.retries):
        yield from _retry(f"retries[{number}]", rule)
    for number, fault in enumerate(told.faults):
        yield from _fault(f"faults[{number}]", fault, world.now_us)
    yield from _outlier(told.outlier)
    yield from _balancing(told.load_balancing)
    if told.HasField("circuit_breaker") and not told.circuit_breaker.max_requests:
        yield "circuit_breaker.max_requests", "0 lets no call through"
    yield from _zones(told.zones)
    if told.HasField("mirror"):
        yield from _mirror(told)
    if told.HasField("canary"):
        yield from _canary(told.canary)


def _state(told: pb.ServicePolicy, service: Service) -> Found:
    """What is wrong with a policy as long as what runs is what runs now."""
    up = versions_up(service)
    wanted = [(f"split[{number}].version", share) for number, share in enumerate(told.split)]
    for number, route in enumerate(told.routes):
        yield from _methods(f"routes[{number}].methods", route.methods, service)
        wanted += [(f"routes[{number}].to", share) for share in route.to]
    for field, share in wanted:
        if share.weight and share.version not in up:
            yield field, _not_up(share.version, service)
    safe = {method.path for method in service.methods if method.retriable}
    for number, rule in enumerate(told.retries):
        yield from _methods(f"retries[{number}].methods", rule.methods, service)
        for name in rule.methods:
            if not rule.off and not safe.issuperset(method_paths(service.methods, name)):
                why = f"{name}: the contract does not call it idempotent"
                yield f"retries[{number}].methods", why
    for number, fault in enumerate(told.faults):
        yield from _methods(f"faults[{number}].methods", fault.methods, service)
    yield from _methods("mirror.methods", told.mirror.methods, service)
    if told.mirror.to and told.mirror.to not in up:
        yield "mirror.to", _not_up(told.mirror.to, service)
    harmless = {method.path for method in service.methods if method.no_side_effects}
    for name in told.mirror.methods:
        if not told.mirror.with_side_effects and not harmless.issuperset(
            method_paths(service.methods, name)
        ):
            why = f"{name}: its contract does not say NO_SIDE_EFFECTS: say with_side_effects"
            yield "mirror.methods", why
    named = {share.zone for share in told.zones.weights}
    if named:
        for zone in sorted({each.zone for each in service.endpoints.values()} - named):
            yield "zones.weights", f"zone {zone!r} has instances and no weight"
    if told.canary.state in (pb.CANARY_STATE_UNSPECIFIED, pb.CANARY_STATE_RUNNING):
        for field, version in (("from", getattr(told.canary, "from")), ("to", told.canary.to)):
            if told.HasField("canary") and version not in up:
                yield f"canary.{field}", _not_up(version, service)


def _for_clients(told: pb.ServicePolicy, clients: Iterable[Seen]) -> Found:
    for client in clients:
        for lack in lacks_of(told, abilities(client)):
            yield lack.field, f"{client}: {lack.why}"
    if told.mirror.by_xds:
        yield "mirror.by_xds", "the chassis makes the copies, with or without xDS"
    if told.timeouts:
        yield "timeouts", "deadlines are the contract's (`meshapi.v1.policy`.timeout): change it"


def _not_up(version: str, service: Service) -> str:
    up = ", ".join(sorted(versions_up(service))) or "none"
    return f"no instance of version {version!r} takes calls, so these calls would fail; up: {up}"


def _shares(field: str, shares: Sequence[pb.VersionWeight]) -> Found:
    if shares and not 0 < sum(share.weight for share in shares) <= _MOST_WEIGHT:
        yield field, f"the weights must sum up to 1 to {_MOST_WEIGHT}"
    for share in shares:
        if not _VERSION.fullmatch(share.version):
            yield field, f"{share.version!r} is no version: 1 to 40 letters, digits, `.`, `-`, `_`"
    if len({share.version for share in shares}) < len(shares):
        yield field, "a version is there more than once"


def _methods(field: str, names: Iterable[str], service: Service) -> Found:
    for name in names:
        paths = method_paths(service.methods, name)
        if len(paths) != 1:
            known = ", ".join(each.path.rpartition("/")[2] for each in service.methods) or "none"
            what = "no method is named" if not paths else "several methods are named"
            yield field, f"{what} {name!r}; known: {known}"


def _headers(field: str, matches: Iterable[pb.HeaderMatch]) -> Found:
    for match in matches:
        name = match.name
        if not _HEADER.fullmatch(name):
            yield field, f"{name!r} is no header: small letters, digits, `-`, `_`, `.`"
        elif name == "user-agent" or name.endswith("-bin") or name.startswith("grpc-"):
            yield field, f"gRPC's clients do not match {name!r}"
        if match.WhichOneof("value") is None:
            yield field, f"nothing is asked of {name!r}"
        if match.regex and not _is_re2(match.regex):
            yield field, f"{match.regex!r} is no RE2 expression: clients would NACK the routes"


def _is_re2(expression: str) -> bool:
    try:
        re.compile(expression)
    except re.error:
        return False
    return not _NOT_RE2.search(expression)


def _retry(field: str, rule: pb.RetryRule) -> Found:
    if rule.off:
        return
    if not rule.num_retries:
        yield f"{field}.num_retries", "0 is NACKed by clients; to repeat nothing, say off"
    if rule.num_retries > _MOST_RETRIES:
        yield f"{field}.num_retries", "clients make at most 5 attempts in all"
    for name in rule.retry_on:
        if name not in _RETRY_ON:
            yield f"{field}.retry_on", f"{name!r} is ignored; known: {', '.join(_RETRY_ON)}"
    if rule.HasField("base_interval") and _ms(rule.base_interval) < _LEAST_PAUSE_MS:
        yield f"{field}.base_interval", "under 2 ms C-core loses calls (grpc#41036)"
    if rule.HasField("max_interval") and _ms(rule.max_interval) < _ms(rule.base_interval):
        yield f"{field}.max_interval", "is less than base_interval"


def _fault(field: str, fault: pb.Fault, now_us: int) -> Found:
    yield from _headers(f"{field}.headers", fault.headers)
    if not fault.abort and not fault.HasField("delay"):
        yield field, "neither aborts nor delays"
    if fault.abort and (fault.abort not in grpc.StatusCode.__members__ or fault.abort == "OK"):
        yield f"{field}.abort", f"{fault.abort!r} is no status that a call fails with"
    if fault.abort and not 0 < fault.abort_percent <= 100:
        yield f"{field}.abort_percent", "a percentage is above 0 and at most 100"
    if fault.HasField("delay"):
        if not 0 < _ms(fault.delay) <= _LONGEST_DELAY_MS:
            yield f"{field}.delay", "a delay is above 0 and at most 60 s"
        if not 0 < fault.delay_percent <= 100:
            yield f"{field}.delay_percent", "a percentage is above 0 and at most 100"
    left_us = fault.expires_at.ToMicroseconds() - now_us
    if not fault.HasField("expires_at") or left_us > _LONGEST_FAULT_US:
        yield f"{field}.expires_at", "a fault must end by itself, within a day"


def _outlier(told: pb.OutlierEjection) -> Found:
    for name in ("failure_percent", "most_ejected_percent"):
        if getattr(told, name) > 100:
            yield f"outlier.{name}", "is more than 100"
    if told.HasField("interval") and _ms(told.interval) < _LEAST_INTERVAL_MS:
        yield "outlier.interval", "is less than 100 ms"
    if told.HasField("ejection") and _ms(told.ejection) <= 0:
        yield "outlier.ejection", "must be above 0"


def _balancing(told: pb.LoadBalancing) -> Found:
    ring = told.algorithm == pb.LOAD_BALANCER_RING_HASH
    if ring and not _HEADER.fullmatch(told.hash_header):
        yield "load_balancing.hash_header", "RING_HASH needs the header that decides"
    if not ring and told.hash_header:
        yield "load_balancing.hash_header", "is ignored without RING_HASH"
    for each in told.endpoint_weights:
        if not 0 < each.weight <= _MOST_WEIGHT:
            yield "load_balancing.endpoint_weights", f"{each.instance_id}: 1 to {_MOST_WEIGHT}"


def _zones(told: pb.ZonePreference) -> Found:
    if told.failover and not told.own_first:
        yield "zones.failover", "has no effect without own_first"
    if told.weights and told.own_first:
        yield "zones.weights", "have no effect with own_first"
    for share in told.weights:
        if not 0 < share.weight <= _MOST_WEIGHT:
            yield (
                "zones.weights",
                (
                    f"{share.zone}: clients drop a zone without a weight, with its instances; "
                    f"1 to {_MOST_WEIGHT}"
                ),
            )


def _mirror(told: pb.ServicePolicy) -> Found:
    mirror = told.mirror
    if not 0 < mirror.percent <= 100:
        yield "mirror.percent", "a percentage is above 0 and at most 100"
    if bool(mirror.to) == bool(mirror.service):
        yield "mirror", "say either a version, `to`, or another `service`"
    if mirror.to:
        yield from _shares("mirror.to", [pb.VersionWeight(version=mirror.to, weight=1)])
    if mirror.service == told.service:
        yield "mirror.service", "is the service itself; say a version, `to`"
    if mirror.with_side_effects and not (mirror.service and mirror.methods):
        yield (
            "mirror.with_side_effects",
            "name the methods, and another service: a version would change the same data again",
        )


def _canary(told: pb.Canary) -> Found:
    if getattr(told, "from") == told.to:
        yield "canary.to", "is the version of before"
    weights = [step.weight for step in told.steps]
    if not weights or weights != sorted(set(weights)) or not 0 < weights[0] <= weights[-1] <= 100:
        yield "canary.steps", "steps are growing percentages, 1 to 100"
    if not 0 <= told.max_error_percent <= 100:
        yield "canary.max_error_percent", "a percentage is at most 100"
    if told.max_latency_factor and told.max_latency_factor < 1:
        yield "canary.max_latency_factor", "below 1 the new version would have to be faster"
    for bound in told.invariants:
        if not _METRIC.fullmatch(bound.metric):
            yield "canary.invariants", f"{bound.metric!r} is no metric: letters, digits, `_`"
        if bound.least > bound.greatest:
            yield (
                "canary.invariants",
                f"{bound.metric}: nothing is at least {bound.least:g} and "
                f"at most {bound.greatest:g}",
            )


def _ms(duration: Duration) -> float:
    return duration.ToNanoseconds() / 1e6
