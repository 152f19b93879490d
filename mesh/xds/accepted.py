"""What gRPC's core of this process has accepted of the control plane (gRFC A40).

The core follows by itself; what of it concerns the chassis too is read from there, so that it comes
by the same way, at the same time, and from whichever control plane the core follows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from google.protobuf.any_pb2 import Any as Packed

from mesh.rpc.mirror import MirrorRule
from mesh.xds.mirrors import mirror_of

__all__ = ["Held", "accepted", "follow", "mirror_rules"]

_LOOK_S = 1.0
_ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"

_log = logging.getLogger(__name__)

Held = Mapping[tuple[str, str], "Accepted"]


@dataclass(frozen=True)
class Accepted:
    """A resource that the core works with, and the version that it came with."""

    version: str
    body: Packed


def accepted() -> Held:
    """Gives the resources that the core has accepted, by type and name; the newest of each."""
    from grpc_csds import ClientStatusDiscoveryServiceServicer as Core

    found: dict[tuple[str, str], Accepted] = {}
    # Each channel follows by itself, and is a config of its own.
    for config in Core.FetchClientStatus(None, None).config:
        for entry in config.generic_xds_configs:
            key = (entry.type_url, entry.name)
            known = found.get(key)
            if entry.xds_config.value and (known is None or known.version < entry.version_info):
                found[key] = Accepted(entry.version_info, entry.xds_config)
    return found


async def follow(*takers: Callable[[Held], None]) -> None:
    """Hands over what the core has accepted, whenever that has changed, for ever."""
    before: dict[tuple[str, str], str] = {}
    while True:
        held = accepted()
        versions = {key: resource.version for key, resource in held.items()}
        if versions != before:
            before = versions
            for take in takers:
                take(held)
        await asyncio.sleep(_LOOK_S)


def mirror_rules(held: Held) -> dict[str, MirrorRule]:
    """Reads what is to be copied, by service, from the route tables."""
    tables = ((name, each.body) for (type_url, name), each in held.items() if type_url == _ROUTES)
    rules = ((name, mirror_of(table)) for name, table in tables)
    return {name: rule for name, rule in rules if rule is not None}
