"""Servers, and the handlers that are registered with them.

Each handler is wrapped once, when it is registered (`unary`, `streaming`): interceptors cost more
than all that is done around a handler here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import grpc
import grpc.aio

from mesh.rpc.accept import new_server
from mesh.rpc.door import Door
from mesh.rpc.load import Load
from mesh.rpc.policy import MethodPolicy, method_of, policy_of
from mesh.rpc.streaming import wrap_streaming
from mesh.rpc.unary import wrap_unary

__all__ = ["MAX_MESSAGE_BYTES", "SERVER_OPTIONS", "Handlers", "make_server"]

# No contract needs more; what is larger is a mistake or an attack.
MAX_MESSAGE_BYTES = 256 * 1024

# How long a connection lasts, and how long its calls have after that, in seconds.
MOST_AGE_S = 300.0
_GRACE_S = 30.0

SERVER_OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", 8 * 1024),
    ("grpc.absolute_max_metadata_size", 16 * 1024),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 3_000),
    # Clients of the mesh ping every ten seconds, idle ones too.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),
)

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


def make_server(most_age_s: float = MOST_AGE_S) -> grpc.aio.Server:
    """Makes a server with the mesh's limits, whose connections last so long and no longer.

    A connection outlives its certificate unless it ends before.
    """
    age_s = min(most_age_s, MOST_AGE_S)
    age = (
        ("grpc.max_connection_age_ms", round(age_s * 1e3)),
        ("grpc.max_connection_age_grace_ms", round(min(age_s, _GRACE_S) * 1e3)),
    )
    return new_server([*SERVER_OPTIONS, *age])


class _Registrar(Protocol):
    """The part of a server that generated code registers with."""

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None: ...

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, Handler]
    ) -> None: ...


class Handlers:
    """Collects servicers, wraps their handlers, and serves them on any number of servers."""

    def __init__(self, door: Door, load: Load) -> None:
        self.door = door
        self.load = load
        self.policies: list[MethodPolicy] = []
        self._services: dict[str, dict[str, Handler]] = {}

    def add(self, servicer: object) -> None:
        """Adds a servicer under every contract whose generated base class it has.

        Raises `TypeError` when it has none.
        """
        found = list(_add_functions(servicer))
        if not found:
            raise TypeError(f"{type(servicer).__name__} serves no generated contract.")
        for add in found:
            add(servicer, self)

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Takes nothing: generated code registers the same handlers by name as well."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Wraps the handlers of a service. Called by generated code."""
        wrapped = self._services.setdefault(service, {})
        for name, handler in handlers.items():
            policy = policy_of(method_of(f"/{service}/{name}"))
            self.policies.append(policy)
            wrapped[name] = self._wrap(policy, handler)

    @property
    def services(self) -> list[str]:
        """The full names of the contracts that are served."""
        return list(self._services)

    def register(self, server: grpc.aio.Server) -> None:
        """Registers everything that was added with a server that has not started."""
        for service, handlers in self._services.items():
            server.add_registered_method_handlers(service, handlers)

    def _wrap(self, policy: MethodPolicy, handler: Handler) -> Handler:
        if handler.request_streaming or handler.response_streaming:
            return wrap_streaming(self.door, self.load, policy, handler)
        return wrap_unary(self.door, self.load, policy, handler)


def _add_functions(servicer: object) -> Iterator[Callable[[object, _Registrar], None]]:
    for base in type(servicer).__mro__:
        if base.__module__.endswith("_pb2_grpc") and base.__name__.endswith("Servicer"):
            module = sys.modules[base.__module__]
            yield getattr(module, f"add_{base.__name__}_to_server")
