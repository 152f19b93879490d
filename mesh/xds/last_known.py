"""A control plane's answers, made of what was last known. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest
from google.protobuf.any_pb2 import Any as Packed

from mesh.xds.resources import TYPES
from mesh.xds.snapshot import Snapshot
from mesh.xds.subscription import Client

__all__ = ["Answers"]


class Answers:
    """The answers to one stream. `kept` are resources by type and name."""

    def __init__(self, kept: Mapping[tuple[str, str], bytes]) -> None:
        self._client = Client("", "")
        self._snapshot = Snapshot()
        for (type_url, name), body in kept.items():
            if type_url in TYPES:
                self._snapshot.put(type_url, name, Packed(type_url=type_url, value=body))
        # A name that is not there is answered as unknown, since nobody will know it soon.
        self._snapshot.complete = True

    def to(self, request: bytes) -> Iterator[bytes]:
        """Takes a request in; gives the answers that are due."""
        self._client.receive(DiscoveryRequest.FromString(request))
        for answer in self._client.answers(self._snapshot):
            yield answer.SerializeToString()
