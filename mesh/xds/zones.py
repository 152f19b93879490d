"""In which order, and with which shares, the zones of a service are called. A pure function.

gRPC's clients do not prefer their own zone by themselves: each is sent a list in which its zone
comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from mesh.xds.catalogue import Endpoint
from meshapi.v1 import policy_pb2 as pb

__all__ = ["Group", "groups"]


@dataclass(frozen=True, kw_only=True)
class Group:
    """The instances of a zone. The smallest priority that has a healthy instance is called."""

    zone: str
    priority: int
    weight: int
    members: Sequence[Endpoint]


def groups(endpoints: Iterable[Endpoint], told: pb.ZonePreference, zone: str) -> list[Group]:
    """Groups instances, in order of their zones, for the clients of a zone ("": of any other).

    Without a preference each instance, in whatever zone, gets the same share.
    """
    by_zone = [(key, list(each)) for key, each in groupby(endpoints, key=lambda each: each.zone)]
    ranks = {key: _rank(key, members, told, zone) for key, members in by_zone}
    # A list of priorities must have no gaps.
    order = sorted(set(ranks.values()))
    shares = {share.zone: share.weight for share in told.weights}
    return [
        Group(
            zone=key,
            priority=order.index(ranks[key]),
            weight=shares.get(key) or max(1, sum(not each.draining for each in members)),
            members=members,
        )
        for key, members in by_zone
    ]


def _rank(
    key: str, members: Sequence[Endpoint], told: pb.ZonePreference, zone: str
) -> tuple[bool, int]:
    if not told.own_first or not zone:
        return (False, 0)
    # Where nothing takes calls, nothing is to be waited for.
    drains = all(each.draining for each in members)
    if key == zone:
        return (drains, 0)
    failover = list(told.failover)
    return (drains, 1 + (failover.index(key) if key in failover else len(failover)))
