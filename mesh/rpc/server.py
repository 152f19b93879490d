"""Servers, and the handlers that are registered with them.

Each handler is wrapped once, when it is registered (`unary`, `streaming`): interceptors cost more
than all that is done around a handler here. A call finds its handler by its path, in one table: for
each method that is registered by its name grpc.aio waits with a task of its own, and takes all of
them up and puts all of them down again for each call that comes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import grpc
import grpc.aio

from mesh.rpc.door import Door
from mesh.rpc.load import Load
from mesh.rpc.policy import MethodPolicy, method_of, policy_of
from mesh.rpc.streaming import wrap_streaming
from mesh.rpc.unary import UnaryMethod

__all__ = ["MAX_MESSAGE_BYTES", "SERVER_OPTIONS", "ByPath", "Handlers", "make_server"]

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
Details: TypeAlias = grpc.HandlerCallDetails
Find: TypeAlias = Callable[[Details], Handler]


def make_server(most_age_s: float = MOST_AGE_S) -> grpc.aio.Server:
    """Makes a server with the mesh's limits, whose connections last so long and no longer.

    A connection outlives its certificate unless it ends before.
    """
    age_s = min(most_age_s, MOST_AGE_S)
    age = (
        ("grpc.max_connection_age_ms", round(age_s * 1e3)),
        ("grpc.max_connection_age_grace_ms", round(min(age_s, _GRACE_S) * 1e3)),
    )
    return grpc.aio.server(options=[*SERVER_OPTIONS, *age])


class _Registrar(Protocol):
    """The part of a server that generated code registers with."""

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None: ...

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, Handler]
    ) -> None: ...


class ByPath:
    """A server as generated code sees it, whose calls find their handlers by their path."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Registers handlers."""
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Handler]) -> None:
        """Takes nothing: generated code registers the same handlers both ways."""


class Handlers(grpc.GenericRpcHandler):
    """Collects servicers, wraps their handlers, and serves them on any number of servers."""

    def __init__(self, door: Door, load: Load) -> None:
        self.door = door
        self.load = load
        self.policies: list[MethodPolicy] = []
        self.services: list[str] = []
        """The full names of the contracts that are served."""
        self._methods: dict[str, Find] = {}

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
        self.services.append(service)
        for name, handler in handlers.items():
            policy = policy_of(method_of(f"/{service}/{name}"))
            self.policies.append(policy)
            self._methods[policy.path] = self._wrap(policy, handler)

    def register(self, server: grpc.aio.Server) -> None:
        """Registers everything that was added with a server that has not started."""
        server.add_generic_rpc_handlers((self,))

    def service(self, handler_call_details: Details) -> Handler | None:
        """Finds the handler of a call. Called by grpc.aio."""
        find = self._methods.get(handler_call_details.method)
        return None if find is None else find(handler_call_details)

    def _wrap(self, policy: MethodPolicy, handler: Handler) -> Find:
        if handler.request_streaming or handler.response_streaming:
            wrapped = wrap_streaming(self.door, self.load, policy, handler)
            return lambda _: wrapped
        return UnaryMethod(self.door, self.load, policy, handler).call


def _add_functions(servicer: object) -> Iterator[Callable[[object, _Registrar], None]]:
    for base in type(servicer).__mro__:
        if base.__module__.endswith("_pb2_grpc") and base.__name__.endswith("Servicer"):
            module = sys.modules[base.__module__]
            yield getattr(module, f"add_{base.__name__}_to_server")
