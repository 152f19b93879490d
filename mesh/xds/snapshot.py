"""The resources of this moment, each with the version at which it last changed.

A version is the time of the change in microseconds, made unique: it grows across restarts, and an
operator can read from it how old a client's state is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.any_pb2 import Any as Packed

from mesh.clock import now_us
from mesh.xds.resources import LDS, TYPES, tombstone

__all__ = ["Resource", "Snapshot"]


@dataclass(frozen=True)
class Resource:
    """A resource as it goes out, and its version."""

    version: int
    body: Packed


class Snapshot:
    """Resources by type and name.

    `complete` says that a name which is not here is known to nobody. Until then such a name is not
    answered: silence costs a client nothing, a wrong answer its calls.
    """

    def __init__(self) -> None:
        self.complete = False
        self._resources: dict[str, dict[str, Resource]] = {type_url: {} for type_url in TYPES}
        self._born = now_us()
        self._last = self._born

    def put(self, type_url: str, name: str, body: Packed) -> bool:
        """Keeps a resource. Tells whether it differs from the one before."""
        before = self._resources[type_url].get(name)
        if before is not None and before.body == body:
            return False
        self._last = max(self._last + 1, now_us())
        self._resources[type_url][name] = Resource(self._last, body)
        return True

    def find(self, type_url: str, names: Iterable[str]) -> dict[str, Resource]:
        """Finds the resources of a type that there are, by name.

        In a complete snapshot each listener is found: a name that nobody knows has a tombstone.
        """
        known = self._resources[type_url]
        found = {name: known[name] for name in sorted(names) if name in known}
        if type_url == LDS and self.complete:
            for name in names:
                if name not in found:
                    found[name] = Resource(self._born, tombstone(name))
        return found

    def version_of(self, type_url: str, name: str) -> int:
        """Tells the version of a resource; 0 when there is none."""
        resource = self._resources[type_url].get(name)
        return resource.version if resource else 0
