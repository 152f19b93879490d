"""What a contract says of its methods: `meshapi.v1.policy` and `idempotency_level`.

Both ends read it from the descriptors of the generated code, once, when a handler is registered
or a stub is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.descriptor_pool import Default

from meshapi.v1 import options_pb2

__all__ = ["DEFAULT_TIMEOUT_S", "MethodPolicy", "method_of", "policy_of", "service_of"]

# For a method whose contract sets no deadline: a wait without an end is never meant.
DEFAULT_TIMEOUT_S = 2.0

_NEEDS_USER = (options_pb2.ACCESS_USER, options_pb2.ACCESS_STAFF)
_REPEATABLE = (MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT)


class _Pool(Protocol):
    def FindServiceByName(self, name: str, /) -> ServiceDescriptor: ...  # noqa: N802


@dataclass(frozen=True, kw_only=True, slots=True)
class MethodPolicy:
    """How a method may be called.

    `timeout_s` is the contract's deadline in seconds; `access` an `options_pb2.Access`, unset when
    nobody may call; `needs_user` whether the call must carry a user's token; `callers` the
    workloads that may call, empty for any; `key_scope` the scope by which an API key may call,
    empty for none; `roles` what the user may be for the company that the call is about, empty for
    anything; `cost` the weight of one call when load is shed; `retriable` whether the mesh may
    repeat a call that found no answer; `changes_nothing` whether a call has no side effects, and
    may be made a second time elsewhere; `may_replay` whether an
    answer may be an earlier one, because the request names itself (AIP-155).
    """

    path: str
    timeout_s: float
    access: options_pb2.Access.ValueType
    needs_user: bool
    callers: frozenset[str]
    scopes: frozenset[str]
    key_scope: str
    roles: frozenset[str]
    step_up: bool
    cost: int
    sandbox: bool
    retriable: bool
    changes_nothing: bool
    may_replay: bool


def service_of(name: str) -> ServiceDescriptor:
    """Finds a service by its full name, such as `bank.accounts.v1.AccountsService`.

    Raises `LookupError` when its generated module was not imported.
    """
    pool: _Pool = Default()
    try:
        return pool.FindServiceByName(name)
    except KeyError:
        raise LookupError(f"No contract declares the service {name}.") from None


def method_of(path: str) -> MethodDescriptor:
    """Finds a method by its path, such as `/bank.accounts.v1.AccountsService/GetAccount`.

    Raises `LookupError` when no imported contract declares it.
    """
    service, _, name = path.removeprefix("/").partition("/")
    method = service_of(service).methods_by_name.get(name)
    if method is None:
        raise LookupError(f"No contract declares the method {path}.")
    return method


def policy_of(method: MethodDescriptor) -> MethodPolicy:
    """Reads what the contract says of a method."""
    options = method.GetOptions()
    policy = options.Extensions[options_pb2.policy]
    service = method.containing_service
    return MethodPolicy(
        path=f"/{service.full_name}/{method.name}",
        timeout_s=policy.timeout.ToNanoseconds() / 1e9 or DEFAULT_TIMEOUT_S,
        access=policy.access,
        needs_user=policy.access in _NEEDS_USER,
        callers=frozenset(policy.callers),
        scopes=frozenset(policy.scopes),
        key_scope=policy.key_scope,
        roles=frozenset(policy.roles),
        step_up=policy.step_up,
        cost=policy.cost or 1,
        sandbox=policy.sandbox,
        retriable=options.idempotency_level in _REPEATABLE,
        changes_nothing=options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS,
        may_replay=bool(policy.idempotency_key),
    )
