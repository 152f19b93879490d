"""Who may come in: what the contract of a method demands of its caller, checked on every call."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

from google.protobuf.message import Message

from mesh.auth.audit import Audit, StaffAccess, to_log
from mesh.auth.step_up import require_step_up
from mesh.auth.tokens import TokenVerifier
from mesh.errors import PermissionDenied, Unauthenticated
from mesh.rpc.consistency import Gate
from mesh.rpc.context import REASON_KEY, Caller, Context, Outgoing, User
from mesh.rpc.policy import MethodPolicy
from meshapi.v1 import options_pb2

__all__ = ["STAFF", "Door", "remembering"]

STAFF = options_pb2.ACCESS_STAFF
STAFF_SCOPE = "staff"
MAX_REASON = 300

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
    """Checks callers. `workload_of` names the peer of a call; "" when it proved no name.

    `edges` are the workloads that may act for people. `audit` keeps what staff looks at, before.
    `gate` is where reads wait for what they must include.
    """

    workload_of: Callable[[Context], str]
    tokens: TokenVerifier
    is_production: bool
    edges: frozenset[str] = frozenset()
    audit: Audit = to_log
    clock: Callable[[], float] = time.time
    gate: Gate = field(default_factory=Gate)

    async def admit(
        self, policy: MethodPolicy, context: Context, out: Outgoing, authorization: str | None
    ) -> Caller:
        """Tells who calls. The calls made for them are the service's own: their token is bound to
        the workload that sent it, and good for nobody else.

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
            user = self.tokens.known(token, workload) or await self.tokens.verify(token, workload)
            self._check(policy, user)
            reason = _reason(context) if policy.access == STAFF else ""
            return Caller(workload, user, policy.roles, reason)
        if policy.access != options_pb2.ACCESS_PUBLIC:
            self._check_workload(policy, workload)
        return Caller(workload)

    def _check_workload(self, policy: MethodPolicy, workload: str) -> None:
        if not workload:
            raise Unauthenticated("NO_WORKLOAD", "This method is for workloads of the mesh.")
        if policy.access == options_pb2.ACCESS_EDGE and workload not in self.edges:
            raise PermissionDenied("CALLER_NOT_ALLOWED", "This workload may not call this method.")

    async def put_on_record(self, policy: MethodPolicy, caller: Caller, request: Message) -> None:
        """Has it kept what a member of the staff asks for, before anything is answered."""
        await self.audit(StaffAccess(caller=caller, method=policy.path, request=request))

    def _check(self, policy: MethodPolicy, user: User) -> None:
        if policy.access == STAFF and STAFF_SCOPE not in user.scopes:
            raise PermissionDenied("STAFF_ONLY", "This is for the bank's staff.")
        is_out_of_reach = user.is_key and policy.key_scope not in user.scopes
        if is_out_of_reach or not policy.scopes <= user.scopes:
            raise PermissionDenied("SCOPE_MISSING", "The access token lacks a scope.")
        if policy.step_up:
            require_step_up(user, now=self.clock())


def _reason(context: Context) -> str:
    """Why a member of the staff calls. Raises `PermissionDenied` when that is not said."""
    sent = (value for key, value in context.invocation_metadata() or () if key == REASON_KEY)
    reason = unquote(str(next(sent, ""))).strip()
    if not 0 < len(reason) <= MAX_REASON:
        raise PermissionDenied("ACCESS_REASON_MISSING", "Staff say why they look.")
    return reason
