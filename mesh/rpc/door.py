"""Who may come in: what the contract of a method demands of its caller, checked on every call."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from mesh.auth.step_up import require_step_up
from mesh.auth.tokens import TokenVerifier
from mesh.errors import PermissionDenied, Unauthenticated
from mesh.rpc.context import Caller, Context, Outgoing, User
from mesh.rpc.policy import MethodPolicy
from meshapi.v1 import options_pb2

__all__ = ["Door", "remembering"]

STAFF_SCOPE = "staff"

_BEARER = "Bearer "
_MAX_PEERS = 1_024


def remembering(workload_of: Callable[[Context], str]) -> Callable[[Context], str]:
    """Reads the names in a peer's certificate once: the same names are the same workload.

    To read a certificate costs ten times as much as to get the names in it, which were verified.
    """
    known: dict[tuple[bytes, ...], str] = {}

    def peer(context: Context) -> str:
        names = tuple(context.peer_identities() or ())
        workload = known.get(names)
        if workload is None:
            workload = workload_of(context)
            if names and len(known) < _MAX_PEERS:
                known[names] = workload
        return workload

    return peer


@dataclass(frozen=True, kw_only=True)
class Door:
    """Checks callers. `workload_of` names the peer of a call; "" when it proved no name."""

    workload_of: Callable[[Context], str]
    tokens: TokenVerifier
    is_production: bool
    clock: Callable[[], float] = time.time

    async def admit(
        self, policy: MethodPolicy, context: Context, out: Outgoing, authorization: str | None
    ) -> Caller:
        """Tells who calls, and lets the calls made for them carry on their token.

        Raises `Unauthenticated` when that is not proven, `PermissionDenied` when they may not.
        """
        if policy.access == options_pb2.ACCESS_UNSPECIFIED:
            raise PermissionDenied("METHOD_HAS_NO_POLICY", "Nobody may call this method.")
        if policy.sandbox and self.is_production:
            raise PermissionDenied("SANDBOX_ONLY", "This method exists only outside production.")
        workload = self.workload_of(context)
        if policy.callers and workload not in policy.callers:
            raise PermissionDenied("CALLER_NOT_ALLOWED", "This workload may not call this method.")
        if policy.needs_user:
            if authorization is None or not authorization.startswith(_BEARER):
                raise Unauthenticated("TOKEN_MISSING", "This needs an access token.")
            token = authorization[len(_BEARER) :]
            user = self.tokens.known(token) or await self.tokens.verify(token)
            self._check(policy, user)
            out.token = token
            return Caller(workload, user)
        if not workload and policy.access == options_pb2.ACCESS_SERVICE:
            raise Unauthenticated("NO_WORKLOAD", "This method is for workloads of the mesh.")
        return Caller(workload)

    def _check(self, policy: MethodPolicy, user: User) -> None:
        if policy.access == options_pb2.ACCESS_STAFF and STAFF_SCOPE not in user.scopes:
            raise PermissionDenied("STAFF_ONLY", "This is for the bank's staff.")
        if not policy.scopes <= user.scopes:
            raise PermissionDenied("SCOPE_MISSING", "The access token lacks a scope.")
        if policy.step_up:
            require_step_up(user, now=self.clock())
