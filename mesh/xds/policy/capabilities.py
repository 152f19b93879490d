"""What gRPC's clients can do, by what they say of themselves when they connect.

Sources: grpc/grpc `doc/grpc_xds_features.md`, gRFCs A42, A48, A50, and what a Python client did
when it was sent each thing. A client that nobody knows is taken for the least able.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version

from mesh.xds.subscription import Client

__all__ = ["Ability", "Seen", "abilities", "seen_clients"]

# The clients of the mesh itself: any service may start to call at any time.
_OWN_AGENT = "gRPC C-core"


@dataclass(frozen=True, order=True)
class Seen:
    """A kind of client: what it calls itself, its version, and an example of one."""

    agent: str
    version: str
    example: str

    def __str__(self) -> str:
        return f"{self.agent} {self.version} ({self.example})"


@dataclass(frozen=True, kw_only=True)
class Ability:
    """What a kind of client does with what not all can do."""

    least_request: bool = False
    mirror: bool = False
    consecutive_5xx: bool = False
    endpoint_weights: bool = False
    route_timeouts: bool = False


_ABILITIES = (
    ("envoy", Ability(
        least_request=True, mirror=True, consecutive_5xx=True, endpoint_weights=True,
        route_timeouts=True,
    )),
    ("gRPC Go", Ability(least_request=True, route_timeouts=True)),
    ("gRPC Java", Ability(least_request=True, route_timeouts=True)),
)  # fmt: skip


def abilities(seen: Seen) -> Ability:
    """Tells what a kind of client can do."""
    for agent, ability in _ABILITIES:
        if seen.agent.startswith(agent):
            return ability
    return Ability()


def seen_clients(clients: Iterable[Client]) -> list[Seen]:
    """Lists the kinds of clients that are connected, the mesh's own always among them."""
    found: dict[tuple[str, str], Seen] = {}
    for client in clients:
        if client.agent_name:
            key = (client.agent_name, client.agent_version)
            found.setdefault(key, Seen(*key, client.node_id or client.workload))
    if not any(agent.startswith(_OWN_AGENT) for agent, _ in found):
        own = Seen(_OWN_AGENT, f"grpcio {version('grpcio')}", "every service of the mesh")
        found[own.agent, own.version] = own
    return sorted(found.values())
