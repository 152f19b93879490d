"""From a change in the catalogue to the clients.

Changes are gathered for ten milliseconds, so that a restart of many instances is a few pushes and
not as many as there are instances.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mesh.xds.catalogue import Catalogue
from mesh.xds.resources import EDS, resources_of
from mesh.xds.snapshot import Snapshot
from mesh.xds.subscription import Client

__all__ = ["Publisher"]

_GATHER_S = 0.010


class Publisher:
    """Keeps the snapshot true to the catalogue, and wakes the clients' streams.

    `on_publish` is called after each change of the catalogue went into the snapshot, and
    `on_answer` when a client accepted or refused something, or left.
    """

    def __init__(self, last_instance_grace_s: float) -> None:
        self.catalogue = Catalogue(self._touch, last_instance_grace_s)
        self.snapshot = Snapshot()
        self.clients: dict[Client, asyncio.Event] = {}
        self.refusals = 0
        self.on_publish: list[Callable[[], None]] = []
        self.on_answer: list[Callable[[], None]] = []
        self._touched: set[str] = set()
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
        """Tells whether every client has accepted the endpoints of a service as they are now.

        Soon after a start nobody knows: the clients are not all back yet.
        """
        if service in self._touched or not self.snapshot.complete:
            return False
        version = self.snapshot.version_of(EDS, service)
        return all(client.has(EDS, service, version) for client in self.clients)

    def publish(self) -> None:
        """Brings the snapshot up to the catalogue at once."""
        self.stop()
        touched, self._touched = self._touched, set()
        changed = False
        for name in sorted(touched):
            for type_url, body in resources_of(self.catalogue.services[name]).items():
                changed |= self.snapshot.put(type_url, name, body)
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
