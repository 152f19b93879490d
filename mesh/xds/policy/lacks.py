"""What of a policy a kind of client would refuse, or accept and ignore. A pure function."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mesh.xds.policy.capabilities import Ability
from meshapi.v1 import policy_pb2 as pb

__all__ = ["Lack", "lacks_of"]


@dataclass(frozen=True)
class Lack:
    """A field of a policy, why it is in vain, and the type of the resource that would carry it:
    `cds`, `eds`, `rds`, or "" for what is never sent. What is not ignored is refused (NACK).
    """

    field: str
    why: str
    type: str
    ignored: bool = True


def lacks_of(told: pb.ServicePolicy, ability: Ability) -> Iterator[Lack]:
    """Lists what a client of an ability cannot do of what is said of a service."""
    balancing = told.load_balancing
    if balancing.algorithm == pb.LOAD_BALANCER_LEAST_REQUEST and not ability.least_request:
        why = "LEAST_REQUEST is NACKed, and every call of a client that starts then fails"
        yield Lack("load_balancing.algorithm", why, "cds", ignored=False)
    ring = balancing.algorithm == pb.LOAD_BALANCER_RING_HASH
    if balancing.endpoint_weights and not ring and not ability.endpoint_weights:
        why = "ignored in a round robin; use RING_HASH, zones.weights or split"
        yield Lack("load_balancing.endpoint_weights", why, "eds")
    if told.mirror.by_xds and not ability.mirror:
        yield Lack("mirror.by_xds", "request_mirror_policies is ignored; leave it out", "rds")
    if told.timeouts and not ability.route_timeouts:
        why = "a route's timeout fires 1 to 2 s early, one of 1 s at once (grpc#34547)"
        yield Lack("timeouts", why, "")
    if told.outlier.consecutive_5xx and not ability.consecutive_5xx:
        yield Lack("outlier.consecutive_5xx", "ignored; use failure_percent, minimum_calls", "cds")
