"""Which calls go where: the routes of a service in their order, from its contract and its policy.

Theory of operation. A client takes the first route whose path and headers fit a call. So each rule
of the policy, and the default after them, becomes one lane for each method that is treated in a way
of its own (repeated, or given a fault), and one for the rest; a fault that only some calls get is a
lane of its own, before the one without it.

No I/O: the same service and policy give the same lanes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mesh.rpc.mirror import MIRRORED_HEADER, MirrorRule
from mesh.xds.catalogue import Method, Service
from meshapi.v1 import policy_pb2 as pb

__all__ = [
    "DEFAULT_RETRY",
    "Lane",
    "lanes_of",
    "method_paths",
    "mirror_rule",
    "subset",
    "versions_up",
]

# C-core takes no other names for what it may repeat than these and a few it should not. Under 2 ms
# between tries it loses calls (grpc/grpc#41036).
DEFAULT_RETRY = pb.RetryRule(num_retries=3, retry_on=["unavailable", "cancelled"])
DEFAULT_RETRY.base_interval.FromMilliseconds(25)
DEFAULT_RETRY.max_interval.FromMilliseconds(250)


@dataclass(frozen=True, kw_only=True)
class Lane:
    """A route: which calls it takes, and what becomes of them.

    `path` is a method's, and "" for all; `shares` are clusters with their weights.
    """

    rule: str
    path: str
    headers: tuple[pb.HeaderMatch, ...]
    shares: tuple[tuple[str, int], ...]
    retry: pb.RetryRule | None
    fault: pb.Fault | None
    hash_header: str


@dataclass(frozen=True)
class _Rule:
    name: str
    paths: tuple[str, ...]
    headers: tuple[pb.HeaderMatch, ...]
    shares: tuple[tuple[str, int], ...]


def subset(service: str, version: str) -> str:
    """Names the cluster of one version of a service."""
    return f"{service}/{version}"


def versions_up(service: Service) -> set[str]:
    """Tells the versions that have an instance which takes calls."""
    return {each.version for each in service.endpoints.values() if not each.draining}


def method_paths(methods: Iterable[Method], name: str) -> list[str]:
    """Finds the paths that a method's name may mean: a full path, or the end of one."""
    return [each.path for each in methods if name in (each.path, each.path.rpartition("/")[2])]


def lanes_of(service: Service, policy: pb.ServicePolicy) -> list[Lane]:
    """Makes the lanes of a service. Without a policy: its repeatable methods, then the rest."""
    retries = {each.path: _retry(service, policy, each) for each in service.methods}
    special = {path for path, retry in retries.items() if retry is not None}
    special.update(path for each in policy.faults for path in _paths(service, each.methods))
    is_ring = policy.load_balancing.algorithm == pb.LOAD_BALANCER_RING_HASH
    lanes = list(_mirrored(service, policy))
    for rule in _rules(service, policy):
        for path in rule.paths or (*sorted(special), ""):
            for headers, fault in _faults(service, policy.faults, path):
                lanes.append(
                    Lane(
                        rule=rule.name,
                        path=path,
                        headers=(*rule.headers, *headers),
                        shares=rule.shares,
                        retry=retries.get(path),
                        fault=fault,
                        hash_header=policy.load_balancing.hash_header if is_ring else "",
                    )
                )
    return lanes


def mirror_rule(service: Service, policy: pb.ServicePolicy) -> MirrorRule | None:
    """Tells what the callers' chassis are to copy; None for nothing."""
    told = policy.mirror
    if not told.percent or told.by_xds:
        return None
    paths = _paths(service, told.methods)
    if told.methods and not paths:
        # Methods that are gone must not make it a rule for all methods.
        return None
    return MirrorRule(told.percent, frozenset(paths), told.service)


def _mirrored(service: Service, policy: pb.ServicePolicy) -> Iterator[Lane]:
    """The lane of copies, before all others: neither repeated nor given faults."""
    if policy.mirror.to and not policy.mirror.by_xds:
        yield Lane(
            rule="mirror",
            path="",
            headers=(pb.HeaderMatch(name=MIRRORED_HEADER, exact="1"),),
            shares=((subset(service.name, policy.mirror.to), 1),),
            retry=None,
            fault=None,
            hash_header="",
        )


def _rules(service: Service, policy: pb.ServicePolicy) -> Iterator[_Rule]:
    for number, route in enumerate(policy.routes, start=1):
        paths = tuple(_paths(service, route.methods))
        if route.methods and not paths:
            # Methods that are gone must not make the route one for all methods.
            continue
        shares = _shares(service.name, route.to)
        yield _Rule(route.name or f"route {number}", paths, tuple(route.headers), shares)
    up = versions_up(service)
    split = [share for share in policy.split if share.weight and share.version in up]
    shares = _shares(service.name, split) if split else ((service.name, 1),)
    yield _Rule("", (), (), shares)


def _shares(name: str, shares: Sequence[pb.VersionWeight]) -> tuple[tuple[str, int], ...]:
    return tuple((subset(name, share.version), share.weight) for share in shares)


def _retry(service: Service, policy: pb.ServicePolicy, method: Method) -> pb.RetryRule | None:
    if not method.retriable:
        return None
    for rule in policy.retries:
        if not rule.methods or method.path in _paths(service, rule.methods):
            return None if rule.off else _completed(rule)
    return DEFAULT_RETRY


def _completed(rule: pb.RetryRule) -> pb.RetryRule:
    whole = pb.RetryRule(
        num_retries=rule.num_retries, retry_on=rule.retry_on or DEFAULT_RETRY.retry_on
    )
    base = rule.base_interval if rule.HasField("base_interval") else DEFAULT_RETRY.base_interval
    whole.base_interval.CopyFrom(base)
    if rule.HasField("max_interval"):
        whole.max_interval.CopyFrom(rule.max_interval)
    else:
        whole.max_interval.FromNanoseconds(10 * base.ToNanoseconds())
    return whole


def _faults(
    service: Service, faults: Iterable[pb.Fault], path: str
) -> Iterator[tuple[tuple[pb.HeaderMatch, ...], pb.Fault | None]]:
    """The variants of one lane: with each fault that only some calls get, then the others'."""
    for fault in faults:
        if fault.methods and path not in _paths(service, fault.methods):
            continue
        yield tuple(fault.headers), fault
        if not fault.headers:
            return
    yield (), None


def _paths(service: Service, names: Iterable[str]) -> list[str]:
    return [path for name in names for path in method_paths(service.methods, name)]
