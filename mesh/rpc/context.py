"""On whose behalf, and until when: what a call brings, and what the calls made for it carry on.

A task that is started inside a call inherits this. One that outlives the call must not: it is
started in a `contextvars.Context` of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import grpc.aio
from google.protobuf.message import Message

from mesh.errors import PermissionDenied, Unauthenticated
from mesh.rpc.consistency import Told

if TYPE_CHECKING:
    from mesh.rpc.policy import MethodPolicy

__all__ = [
    "REASON_KEY",
    "REPLAYED_KEY",
    "Caller",
    "Context",
    "Outgoing",
    "User",
    "caller",
    "current",
    "mark_replayed",
    "outgoing",
    "remaining_s",
]

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

REPLAYED_KEY = "idempotent-replayed"
REASON_KEY = "x-access-reason"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A signed-in person, as a verified token names them.

    `authenticated_at` and `second_factor_at` are seconds since 1970; the latter is None when the
    session has proven no second factor. `is_key`: it is a program with an API key of a company, and
    may do only what its scopes name.
    """

    user_id: str
    session_id: str
    scopes: frozenset[str] = frozenset()
    authenticated_at: int = 0
    second_factor_at: int | None = None
    is_key: bool = False


class Caller(NamedTuple):
    """Who calls: the workload at the other end, and the user on whose behalf it calls, if any.

    `roles` are those that the contract asks for, empty for any; `reason` is why a member of the
    staff calls.
    """

    workload: str
    user: User | None = None
    roles: frozenset[str] = frozenset()
    reason: str = ""

    def must_be_user(self) -> User:
        """Gives the user. Raises `Unauthenticated` when the call is on nobody's behalf."""
        if self.user is None:
            raise Unauthenticated("NOT_SIGNED_IN", "This needs a signed-in user.")
        return self.user

    def must_be(self, role: str) -> None:
        """Lets a user go on whose role, in the company that the call is about, the contract allows.

        Raises `PermissionDenied`, reason `ROLE_NOT_ALLOWED`.
        """
        if self.roles and role not in self.roles:
            raise PermissionDenied("ROLE_NOT_ALLOWED", "Your role does not allow this.")


@dataclass(slots=True)
class Outgoing:
    """What calls carry on: the user's internal token, bound to this workload, why a member of the
    staff calls, and the deadline that bounds them all.

    `deadline` is on the clock of `time.monotonic`, in seconds. `replayed` becomes true when a peer
    answers that it had done the same before. `after` is what reads must include, as a token, and
    `told` what was told for the call (`mesh.rpc.consistency`). `policy` and `request` are those of
    the call that is being answered; of a stream, the request is the last one.
    """

    token: str | None = None
    reason: str = ""
    deadline: float | None = None
    caller: Caller | None = None
    replayed: bool = False
    after: str = ""
    told: set[Told] = field(default_factory=set)
    policy: MethodPolicy | None = None
    request: Message | None = None


current: ContextVar[Outgoing | None] = ContextVar("mesh_rpc_current", default=None)


@contextmanager
def outgoing(out: Outgoing) -> Iterator[Outgoing]:
    """Makes the calls of a block carry `out`. The REST edge enters the mesh through it."""
    token = current.set(out)
    try:
        yield out
    finally:
        current.reset(token)


def caller() -> Caller:
    """Tells who made the call that is being answered.

    Raises `LookupError` outside a call: asking there is a bug.
    """
    out = current.get()
    if out is None or out.caller is None:
        raise LookupError("There is no call here, so nobody made it.")
    return out.caller


def remaining_s() -> float | None:
    """Tells how many seconds the current call has left; None when nothing bounds it."""
    out = current.get()
    if out is None or out.deadline is None:
        return None
    return out.deadline - time.monotonic()


def mark_replayed(context: Context) -> None:
    """Tells the caller that the answer repeats an earlier one, and nothing was done."""
    context.set_trailing_metadata(((REPLAYED_KEY, "true"),))
