"""Who tells what, and who listens: read from the contracts and from what services declare.

It is what documents and gates are made of: AsyncAPI (`asyncapi`), the corpus of old events
(`corpus`), and whom a change of a contract would break (`impact`).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, FileDescriptor

from mesh.chassis import Chassis, Service
from mesh.db import Database
from mesh.events.envelope import EventType, describe
from mesh.rpc.client import Channels
from mesh.settings import Settings
from mesh.supervisor.project import Project
from meshapi.v1 import options_pb2

__all__ = ["Catalogue", "Listener", "Told", "catalogue", "contracts", "declared"]


@dataclass(frozen=True, slots=True)
class Listener:
    """A projection or a reaction: `name` is the subscription's, such as `statements-lines`."""

    service: str
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Told:
    """An event: its contract, the service that tells it, and who listens."""

    descriptor: Descriptor
    kind: EventType
    publisher: str
    listeners: Sequence[Listener]

    @property
    def name(self) -> str:
        """The full name of its message."""
        return self.kind.name


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All events of a project, in order of their names."""

    project: Project
    events: Sequence[Told]


def catalogue(project: Project) -> Catalogue:
    """Reads the contracts, and asks every service what it listens to. Nothing is started."""
    files = list(contracts(project))
    listeners: dict[str, list[Listener]] = {}
    for service in (declared(project, name) for name in project.services):
        for kind, parts in (("projection", service.projections), ("reaction", service.reactions)):
            for part in parts:
                found = Listener(service.name, f"{service.name}-{part.name}", kind)
                for message in part.on:
                    listeners.setdefault(message.DESCRIPTOR.full_name, []).append(found)
    events = [
        Told(message, describe(message), _publisher(message), listeners.get(message.full_name, ()))
        for file in files
        for message in file.message_types_by_name.values()
        if message.GetOptions().Extensions[options_pb2.event].stream
    ]
    return Catalogue(project, sorted(events, key=lambda event: event.name))


def contracts(project: Project) -> Iterator[FileDescriptor]:
    """Imports the generated contracts of a project."""
    generated = project.root / "protos/gen"
    for package in project.contracts:
        for path in sorted((generated / package).rglob("*_pb2.py")):
            yield importlib.import_module(_module(path, generated)).DESCRIPTOR


def declared(project: Project, name: str) -> Service:
    """Has a service say what it is: `build`, with a chassis on which nothing stands."""
    module = importlib.import_module(f"{project.package}.{name}.app")
    settings = Settings(service=name, nats_url="")
    chassis: Any = Chassis(settings, cast(Database, None), Channels(), list)
    service: Service = module.build(chassis)
    return service


def _module(path: Path, generated: Path) -> str:
    return ".".join(path.relative_to(generated).with_suffix("").parts)


def _publisher(message: Descriptor) -> str:
    """The service whose contracts the event stands beside: `bank.accounts.v1` is of `accounts`."""
    return str(message.file.package.split(".")[-2])
