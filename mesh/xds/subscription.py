"""One client's stream of the state-of-the-world protocol, without I/O.

Source: the xDS protocol documentation (ACK, NACK, nonces, resource warming).

Rules that keep this correct:

* At most one answer of a type is on its way: the next one waits for the ACK or NACK of the last,
  so that a slow client gets the latest state, not every state.
* A request with another nonce than that of the last answer is void; the client sends another.
* An answer with listeners or clusters carries all that are subscribed to, since absence means
  deletion; one with routes or endpoints carries what changed.
* A refused resource is not sent again until it changes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from mesh.errors import InvalidArgument
from mesh.xds.envoy import AGENT, cluster_for_envoy
from mesh.xds.resources import CDS, LDS, TYPES
from mesh.xds.snapshot import Resource, Snapshot

__all__ = ["Client", "Subscription"]

_MAX_NAMES = 1_000
_MAX_ERROR_LENGTH = 2_000


@dataclass
class Subscription:
    """What a client wants of one type, and what became of it. Times are seconds since 1970."""

    type_url: str
    names: frozenset[str] = frozenset()
    wants_all: bool = False
    sent: dict[str, int] = field(default_factory=dict)
    on_its_way: dict[str, int] = field(default_factory=dict)
    acknowledged: dict[str, int] = field(default_factory=dict)
    # What the client works with: the resources that it has accepted, as they were then.
    held: dict[str, Resource] = field(default_factory=dict)
    last_answer: dict[str, Resource] = field(default_factory=dict)
    nonce: str = ""
    version_sent: str = ""
    version_acknowledged: str = ""
    sent_at: float = 0.0
    answered_at: float = 0.0
    refusal: str = ""
    refusals: int = 0

    def receive(self, request: DiscoveryRequest) -> None:
        """Takes a request in."""
        if request.response_nonce and self.nonce:
            if request.response_nonce != self.nonce:
                return
            self._settle(request)
        names = frozenset(request.resource_names)
        # Envoy asks so for its clusters: all that there are.
        self.wants_all = self.type_url == CDS and (
            names == {"*"} or (not names and (self.wants_all or not self.names))
        )
        if self.wants_all:
            return
        if len(names) > _MAX_NAMES:
            raise InvalidArgument("TOO_MANY_RESOURCES", "A stream may name 1,000 resources a type.")
        self.names = names
        self.sent = {name: version for name, version in self.sent.items() if name in names}
        self.acknowledged = {n: version for n, version in self.acknowledged.items() if n in names}
        self.held = {name: resource for name, resource in self.held.items() if name in names}

    def owed(self, snapshot: Snapshot, zone: str = "") -> dict[str, Resource]:
        """Tells what a client of a zone should be sent now."""
        if self.wants_all:
            self.names = snapshot.names(self.type_url)
        if self.on_its_way or not self.names:
            return {}
        found = snapshot.find(self.type_url, self.names, zone)
        changed = {n: r for n, r in found.items() if self.sent.get(n) != r.version}
        return found if changed and self.type_url in (LDS, CDS) else changed

    def send(self, resources: dict[str, Resource], nonce: str) -> DiscoveryResponse:
        """Makes the answer with these resources, and waits for its ACK or NACK from then on."""
        self.on_its_way = {name: resource.version for name, resource in resources.items()}
        self.sent.update(self.on_its_way)
        self.last_answer = resources
        self.version_sent = str(max(self.on_its_way.values()))
        self.nonce = nonce
        self.sent_at = time.time()
        return DiscoveryResponse(
            version_info=self.version_sent,
            nonce=nonce,
            type_url=self.type_url,
            resources=[resource.body for resource in resources.values()],
        )

    def _settle(self, request: DiscoveryRequest) -> None:
        if not self.on_its_way:
            # The answer is settled already: this only changes what is subscribed to.
            return
        arrived, self.on_its_way = self.on_its_way, {}
        self.answered_at = time.time()
        if request.HasField("error_detail"):
            self.refusal = request.error_detail.message[:_MAX_ERROR_LENGTH]
            self.refusals += 1
            return
        self.refusal = ""
        self.version_acknowledged = request.version_info
        self.acknowledged.update(arrived)
        self.held.update(self.last_answer)


class Client:
    """One stream: who follows, and its subscriptions by type."""

    def __init__(self, workload: str, peer: str) -> None:
        self.workload = workload
        self.peer = peer
        self.node_id = ""
        self.zone = ""
        self.agent_name = ""
        self.agent_version = ""
        self.connected_at = time.time()
        self.subscriptions = {type_url: Subscription(type_url) for type_url in TYPES}
        self._answers = 0

    @property
    def agent(self) -> str:
        """What the client calls itself, with its version."""
        return f"{self.agent_name} {self.agent_version}"

    def receive(self, request: DiscoveryRequest) -> Subscription | None:
        """Takes a request in. None for a type that is not served: it is never answered.

        Raises `InvalidArgument` for a stream that wants too much.
        """
        if request.node.id:
            self.node_id = request.node.id
            self.zone = request.node.locality.zone
            self.agent_name = request.node.user_agent_name
            self.agent_version = request.node.user_agent_version
        subscription = self.subscriptions.get(request.type_url)
        if subscription is not None:
            subscription.receive(request)
        return subscription

    def answers(self, snapshot: Snapshot) -> Iterator[DiscoveryResponse]:
        """Makes the answers that are due now, what is pointed at first."""
        for type_url in TYPES:
            subscription = self.subscriptions[type_url]
            if resources := subscription.owed(snapshot, self.zone):
                self._answers += 1
                answer = subscription.send(resources, str(self._answers))
                if self.agent_name == AGENT and type_url == CDS:
                    for body in answer.resources:
                        body.CopyFrom(cluster_for_envoy(body))
                yield answer

    def has(self, type_url: str, name: str, version: int) -> bool:
        """Tells whether the client follows a resource and has accepted this version of it, or does
        not follow it at all."""
        subscription = self.subscriptions[type_url]
        return name not in subscription.names or (subscription.acknowledged.get(name, 0) >= version)
