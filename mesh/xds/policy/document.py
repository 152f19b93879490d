"""The policy as a message: found, pruned, compared, written as text. No I/O and no clock here."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import Any

from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp

from mesh.errors import InvalidArgument
from meshapi.v1 import policy_pb2 as pb

__all__ = [
    "EMPTY",
    "differences",
    "from_json",
    "named_versions",
    "next_expiry_us",
    "of_service",
    "pruned",
    "to_json",
]

# What is said of a service that the policy does not name. Never changed.
EMPTY = pb.ServicePolicy()


def of_service(policy: pb.MeshPolicy, name: str) -> pb.ServicePolicy:
    """Finds what a policy says of a service."""
    return next((each for each in policy.services if each.service == name), EMPTY)


def pruned(policy: pb.MeshPolicy, now_us: int) -> pb.MeshPolicy:
    """Copies a policy without the faults whose time is over, services in order of their names.

    A service of which nothing is left to say is left out.
    """
    kept = pb.MeshPolicy()
    for service in sorted(policy.services, key=lambda each: each.service):
        copy = pb.ServicePolicy()
        copy.CopyFrom(service)
        del copy.faults[:]
        copy.faults.extend(fault for fault in service.faults if _us(fault.expires_at) > now_us)
        if copy != pb.ServicePolicy(service=service.service):
            kept.services.append(copy)
    return kept


def next_expiry_us(policy: pb.MeshPolicy, now_us: int) -> int | None:
    """Tells when the next fault ends by itself, in microseconds since 1970."""
    ends = (_us(fault.expires_at) for each in policy.services for fault in each.faults)
    return min((end for end in ends if end > now_us), default=None)


def named_versions(service: pb.ServicePolicy) -> frozenset[str]:
    """Tells the versions that a policy tells apart."""
    named = {share.version for share in service.split}
    named.update(share.version for route in service.routes for share in route.to)
    named.update([service.mirror.to] if service.mirror.to else [])
    return frozenset(named)


def to_json(policy: pb.MeshPolicy) -> str:
    """Writes a policy as people read it; the same policy gives the same text."""
    return json.dumps(json_format.MessageToDict(policy, preserving_proto_field_name=True), indent=2)


def from_json(value: Any) -> pb.MeshPolicy:
    """Reads a policy from decoded JSON or TOML. Raises `InvalidArgument` when it is none."""
    try:
        if not isinstance(value, dict):
            raise TypeError("it is no object")
        return json_format.ParseDict(value, pb.MeshPolicy())
    except (json_format.ParseError, TypeError, AttributeError) as error:
        said = " ".join(str(error).split())
        raise InvalidArgument("POLICY_UNREADABLE", f"This is no policy: {said}") from None


def differences(
    old: pb.MeshPolicy, new: pb.MeshPolicy, names: tuple[str, str] = ("now", "then")
) -> list[str]:
    """Lists the lines of a unified diff; empty when the policies are the same."""
    lines: Iterable[str] = difflib.unified_diff(
        to_json(old).splitlines(), to_json(new).splitlines(), *names, lineterm=""
    )
    return list(lines)


def _us(moment: Timestamp) -> int:
    return moment.ToMicroseconds()
