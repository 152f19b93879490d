"""What would become of a call: the lanes that clients are sent, walked here. A pure function."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from mesh.errors import InvalidArgument
from mesh.xds.catalogue import Endpoint, Service
from mesh.xds.policy.lanes import Lane, lanes_of, method_paths
from mesh.xds.zones import groups
from meshapi.v1 import policy_pb2 as pb

__all__ = ["preview"]


def preview(
    service: Service, told: pb.ServicePolicy, method: str, headers: Mapping[str, str], zone: str
) -> pb.TestPolicyResponse:
    """Tells which lane takes a call, and where it leads. Raises `InvalidArgument` for a method that
    the service does not have.
    """
    paths = method_paths(service.methods, method)
    if len(paths) != 1:
        known = ", ".join(each.path for each in service.methods) or "none"
        raise InvalidArgument("METHOD_UNKNOWN", f"No one method is {method!r}; known: {known}.")
    lane = next(each for each in lanes_of(service, told) if _takes(each, paths[0], headers))
    everyone = sorted(service.endpoints.values(), key=lambda each: (each.zone, each.instance_id))
    whole = sum(weight for _, weight in lane.shares)
    response = pb.TestPolicyResponse(route=lane.rule, hash_header=lane.hash_header)
    for cluster, weight in lane.shares:
        version = cluster.partition("/")[2]
        members = [each for each in everyone if version in ("", each.version)]
        response.destinations.add(
            version=version,
            percent=100 * weight / whole,
            instances=_in_order(members, told.zones, zone if told.zones.own_first else ""),
        )
    if lane.retry is not None:
        response.retry.CopyFrom(lane.retry)
    if lane.fault is not None:
        response.fault.CopyFrom(lane.fault)
    return response


def _takes(lane: Lane, path: str, headers: Mapping[str, str]) -> bool:
    return lane.path in ("", path) and all(_fits(match, headers) for match in lane.headers)


def _fits(match: pb.HeaderMatch, headers: Mapping[str, str]) -> bool:
    value = headers.get(match.name)
    kind = match.WhichOneof("value")
    if kind == "present":
        return match.present == (value is not None)
    if value is None:
        return False
    if kind == "exact":
        return value == match.exact
    if kind == "prefix":
        return value.startswith(match.prefix)
    return re.fullmatch(match.regex, value) is not None


def _in_order(members: Iterable[Endpoint], told: pb.ZonePreference, zone: str) -> list[str]:
    ordered = sorted(groups(members, told, zone), key=lambda group: group.priority)
    return [each.instance_id for group in ordered for each in group.members if not each.draining]
