"""From a change in the catalogue or the policy to the clients.

Changes are gathered for ten milliseconds, so that a restart of many instances is a few pushes and
not as many as there are instances.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mesh.xds.catalogue import Catalogue
from mesh.xds.policy.document import named_versions, of_service
from mesh.xds.policy.lanes import subset
from mesh.xds.resources import EDS, RDS, resources_of
from mesh.xds.snapshot import Snapshot
from mesh.xds.subscription import Client
from meshapi.v1 import policy_pb2 as pb

__all__ = ["Publisher"]

_GATHER_S = 0.010


class Publisher:
    """Keeps the snapshot true to the catalogue and the policy, and wakes the clients' streams.

    `on_publish` is called after each change of the catalogue went into the snapshot, and
    `on_answer` when a client accepted or refused something, or left.
    """

    def __init__(self, last_instance_grace_s: float) -> None:
        self.catalogue = Catalogue(self._touch, last_instance_grace_s)
        self.policy = pb.MeshPolicy()
        self.snapshot = Snapshot()
        self.clients: dict[Client, asyncio.Event] = {}
        self.refusals = 0
        self.on_publish: list[Callable[[], None]] = []
        self.on_answer: list[Callable[[], None]] = []
        self._touched: set[str] = set()
        self._versions: dict[str, set[str]] = {}
        # Those in which a client ever was.
        self._zones: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None

    def join(self, client: Client) -> asyncio.Event:
        """Takes a client in. Its event is set whenever there may be answers for it."""
        return self.clients.setdefault(client, asyncio.Event())

    def leave(self, client: Client) -> None:
        """Lets a client go."""
        self.clients.pop(client, None)
        self.answered()

    def answered(self) -> None:
        """Is told that a client accepted or refused something, or left."""
        for callback in self.on_answer:
            callback()

    def wake(self) -> None:
        """Makes every stream look for answers."""
        for event in self.clients.values():
            event.set()

    def has_settled(self, service: str) -> bool:
        """Tells whether every client has accepted the endpoints and routes of a service of now.

        Soon after a start nobody knows: the clients are not all back yet.
        """
        if service in self._touched or not self.snapshot.complete:
            return False
        versions = self._versions.get(service, ())
        names = [(EDS, service), (RDS, service)]
        names += [(EDS, subset(service, version)) for version in versions]
        return all(
            client.has(type_url, name, self.snapshot.version_of(type_url, name, client.zone))
            for client in self.clients
            for type_url, name in names
        )

    def follow(self, policy: pb.MeshPolicy) -> None:
        """Takes another policy over, and publishes what it changes at once."""
        before, self.policy = self.policy, policy
        for name in self.catalogue.services:
            if of_service(before, name) != of_service(policy, name):
                self._touched.add(name)
        self.publish()

    def serve_zone(self, zone: str) -> None:
        """Is told in which zone a client is: where zones matter, it gets lists of its own."""
        if not zone or zone in self._zones:
            return
        self._zones.add(zone)
        names = [told.service for told in self.policy.services if told.zones.own_first]
        self._touched.update(name for name in names if name in self.catalogue.services)
        self.publish()

    def publish(self) -> None:
        """Brings the snapshot up to the catalogue at once."""
        self.stop()
        touched, self._touched = self._touched, set()
        changed = False
        for name in sorted(touched):
            told = of_service(self.policy, name)
            # A version keeps its cluster: some client may still be on its way to other routes.
            versions = self._versions.setdefault(name, set())
            versions |= named_versions(told)
            resources = resources_of(self.catalogue.services[name], told, versions, self._zones)
            changed |= self.snapshot.update(resources)
        if changed:
            self.wake()
        for callback in self.on_publish:
            callback()

    def stop(self) -> None:
        """Stops waiting for more changes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _touch(self, name: str) -> None:
        self._touched.add(name)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_GATHER_S, self.publish)
