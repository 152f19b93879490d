"""Which services there are, and where their instances listen.

Theory of operation. An instance is *held* by a lease, or *remembered*. It is remembered

* after a restart of the control plane, until its lease returns or the return window closes;
* when it was the last of its service and its stream ended without a goodbye, for a grace: a list
  with a dead endpoint does no more harm than an empty one, and a lost connection is no lost
  process.

An instance that drains says goodbye, and goes when its stream ends. A service, once known, stays
known: its callers are told that it has no instances, which they learn at once, instead of that it
does not exist, which they wait for.

No I/O and no clock here: moments are given, in seconds of a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

__all__ = ["Catalogue", "Endpoint", "Method", "Service", "outliers"]


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method of a service: its full path, whether the mesh may repeat a call of it, and whether
    a call changes nothing.
    """

    path: str
    retriable: bool
    no_side_effects: bool = False


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """An instance of a service. `host` is an IP address: clients resolve no names."""

    instance_id: str
    host: str
    port: int
    version: str = ""
    zone: str = ""
    pid: int = 0
    draining: bool = False
    failing: bool = False


def outliers(endpoints: Iterable[Endpoint]) -> frozenset[str]:
    """Tells which instances are to be spared because they fail.

    Where more than half of those in use fail, the cause lies elsewhere: then none is.
    """
    used = [each for each in endpoints if not each.draining]
    failing = frozenset(each.instance_id for each in used if each.failing)
    return failing if len(failing) * 2 <= len(used) else frozenset()


@dataclass(kw_only=True)
class Service:
    """A service: its methods, as last registered, and its instances by id."""

    name: str
    methods: tuple[Method, ...] = ()
    endpoints: dict[str, Endpoint] = field(default_factory=dict)


@dataclass(frozen=True)
class _Memory:
    until: float
    # Kept only because the service would be empty without it.
    last: bool


class Catalogue:
    """The services of the mesh. `on_change` is called with the name of a service that changed."""

    def __init__(self, on_change: Callable[[str], None], last_instance_grace_s: float) -> None:
        self.services: dict[str, Service] = {}
        self._remembered: dict[tuple[str, str], _Memory] = {}
        self._on_change = on_change
        self._grace_s = last_instance_grace_s

    def restore(self, services: Iterable[Service], until: float) -> None:
        """Takes over what the last run knew; its instances are remembered until a moment."""
        for service in services:
            self.services[service.name] = service
            for instance_id in service.endpoints:
                self._remembered[service.name, instance_id] = _Memory(until, last=False)
            self._on_change(service.name)

    def put(self, name: str, endpoint: Endpoint, methods: tuple[Method, ...] = ()) -> None:
        """Keeps an instance that a lease holds now, new or changed.

        Methods replace those known; none leaves them as they are. An older instance at the same
        address is gone: two processes cannot listen there, and clients refuse a list with both.
        """
        service = self.services.setdefault(name, Service(name=name))
        if methods:
            service.methods = methods
        for other in list(service.endpoints.values()):
            if other.instance_id == endpoint.instance_id:
                continue
            memory = self._remembered.get((name, other.instance_id))
            succeeded = memory is not None and memory.last and not endpoint.draining
            if succeeded or (other.host, other.port) == (endpoint.host, endpoint.port):
                self._forget(service, other.instance_id)
        service.endpoints[endpoint.instance_id] = endpoint
        self._remembered.pop((name, endpoint.instance_id), None)
        self._on_change(name)

    def release(self, name: str, instance_id: str, now: float) -> None:
        """Withdraws an instance whose lease ended, or remembers it if it is the last."""
        service = self.services[name]
        endpoint = service.endpoints.get(instance_id)
        if endpoint is None:
            return
        others = [e for e in service.endpoints.values() if e is not endpoint and not e.draining]
        if endpoint.draining or others:
            self._forget(service, instance_id)
            self._on_change(name)
        else:
            self._remembered[name, instance_id] = _Memory(now + self._grace_s, last=True)

    def sweep(self, now: float) -> list[tuple[str, str]]:
        """Withdraws the remembered whose time is over, and tells which they were."""
        over = [key for key, memory in self._remembered.items() if memory.until <= now]
        for name, instance_id in over:
            self._forget(self.services[name], instance_id)
            self._on_change(name)
        return over

    def _forget(self, service: Service, instance_id: str) -> None:
        del service.endpoints[instance_id]
        self._remembered.pop((service.name, instance_id), None)
