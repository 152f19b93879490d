"""What is to be copied, as it is told to the chassis: in the metadata of a route table."""

from __future__ import annotations

from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.any_pb2 import Any as Packed

from mesh.rpc.mirror import MirrorRule

__all__ = ["mirror_of", "tell_mirror"]

# gRPC's core does not look at metadata.
_NAME = "mesh.mirror"


def tell_mirror(table: RouteConfiguration, rule: MirrorRule) -> None:
    """Puts a rule into a route table."""
    told = table.metadata.filter_metadata[_NAME]
    told["percent"] = rule.percent
    told["service"] = rule.service
    told.get_or_create_list("paths").extend(sorted(rule.paths))


def mirror_of(table: Packed) -> MirrorRule | None:
    """Reads the rule from a route table; None for nothing."""
    metadata = RouteConfiguration.FromString(table.value).metadata.filter_metadata
    if _NAME not in metadata:
        return None
    told = metadata[_NAME]
    return MirrorRule(float(told["percent"]), frozenset(told["paths"]), told["service"])
