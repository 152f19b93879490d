"""The resources of this moment, each with the version at which it last changed.

A version is the time of the change in microseconds, made unique: it grows across restarts, and an
operator can read from it how old a client's state is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.any_pb2 import Any as Packed

from mesh.clock import now_us
from mesh.xds.resources import LDS, TYPES, Resources, tombstone

__all__ = ["Resource", "Snapshot"]


@dataclass(frozen=True)
class Resource:
    """A resource as it goes out, and its version."""

    version: int
    body: Packed


class Snapshot:
    """Resources by type, name, and the zone of the clients they are for ("": of any other zone).

    `complete` says that a name which is not here is known to nobody. Until then such a name is not
    answered: silence costs a client nothing, a wrong answer its calls. A name, once here, stays:
    to clients absence is deletion.
    """

    def __init__(self) -> None:
        self.complete = False
        self._resources: dict[str, dict[str, dict[str, Resource]]] = {
            type_url: {} for type_url in TYPES
        }
        self._born = now_us()
        self._last = self._born

    def put(self, type_url: str, name: str, body: Packed, zone: str = "") -> bool:
        """Keeps a resource. Tells whether it differs from the one before."""
        variants = self._resources[type_url].setdefault(name, {})
        before = variants.get(zone)
        if before is not None and before.body == body:
            return False
        variants[zone] = self._new(body)
        return True

    def update(self, resources: Resources) -> bool:
        """Keeps all that there is of a service now. Tells whether anything differs from before."""
        changed = False
        for (type_url, name, zone), body in resources.items():
            changed |= self.put(type_url, name, body, zone)
        for type_url, name in {key[:2] for key in resources}:
            variants = self._resources[type_url][name]
            gone = [zone for zone in variants if (type_url, name, zone) not in resources]
            for zone in gone:
                del variants[zone]
            if gone:
                # Clients of those zones fall back to it: to them it is new.
                variants[""] = self._new(variants[""].body)
                changed = True
        return changed

    def find(self, type_url: str, names: Iterable[str], zone: str = "") -> dict[str, Resource]:
        """Finds the resources of a type that there are for clients of a zone, by name.

        In a complete snapshot each listener is found: a name that nobody knows has a tombstone.
        """
        found = {}
        for name in sorted(names):
            if resource := self._of(type_url, name, zone):
                found[name] = resource
            elif type_url == LDS and self.complete:
                found[name] = Resource(self._born, tombstone(name))
        return found

    def names(self, type_url: str) -> frozenset[str]:
        """Tells the names of all resources of a type."""
        return frozenset(self._resources[type_url])

    def version_of(self, type_url: str, name: str, zone: str = "") -> int:
        """Tells the version of a resource; 0 when there is none."""
        resource = self._of(type_url, name, zone)
        return resource.version if resource else 0

    def _of(self, type_url: str, name: str, zone: str) -> Resource | None:
        variants = self._resources[type_url].get(name, {})
        return variants.get(zone) or variants.get("")

    def _new(self, body: Packed) -> Resource:
        self._last = max(self._last + 1, now_us())
        return Resource(self._last, body)
