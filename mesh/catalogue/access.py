"""Who may call what: every method of the contracts against everybody who could try.

The table is what the contracts say (`meshapi.v1.policy`), read here without the code that enforces
it (`mesh.rpc.door`), so that a test can hold one against the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from google.protobuf.descriptor import MethodDescriptor

from meshapi.v1 import options_pb2

__all__ = ["Caller", "Rule", "callers", "key_scopes", "rules"]

# The workload that acts for people; the settings of a process name them all.
EDGE = "bff"
OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody who could try: a workload, and the token that it shows, if any.

    `workload` is "" for a peer without a certificate. `holder` is the workload that the token was
    given to, "" for no token; `factor` whether it proves a second factor, just now; `key_scopes`
    what an API key may do, None for a person.
    """

    name: str
    workload: str
    holder: str = ""
    staff: bool = False
    reason: bool = False
    factor: bool = True
    key_scopes: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """What a contract says of a method. `roles` are decided by the service that owns the thing."""

    service: str
    method: MethodDescriptor
    policy: options_pb2.Policy

    @property
    def path(self) -> str:
        """The path of the method."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    @property
    def access(self) -> str:
        """Who may call, in one word: `public`, `user`, `staff`, `service`, `edge`, or `nobody`."""
        name = options_pb2.Access.Name(self.policy.access).removeprefix("ACCESS_").lower()
        return "nobody" if name == "unspecified" else name

    def refusal(self, caller: Caller, edges: frozenset[str], *, production: bool = False) -> str:
        """Tells the reason for which the door refuses a caller; "" if it lets them through."""
        policy = self.policy
        if self.access == "nobody":
            return "METHOD_HAS_NO_POLICY"
        if policy.sandbox and production:
            return "SANDBOX_ONLY"
        if policy.callers and caller.workload not in policy.callers:
            return "CALLER_NOT_ALLOWED"
        if self.access in ("user", "staff"):
            return self._refusal_of_token(caller)
        if self.access in ("service", "edge") and not caller.workload:
            return "NO_WORKLOAD"
        if self.access == "edge" and caller.workload not in edges:
            return "CALLER_NOT_ALLOWED"
        return ""

    def _refusal_of_token(self, caller: Caller) -> str:
        if not caller.holder:
            return "TOKEN_MISSING"
        if caller.holder != caller.workload:
            return "TOKEN_NOT_YOURS"
        if self.access == "staff" and not caller.staff:
            return "STAFF_ONLY"
        if caller.key_scopes is not None and self.policy.key_scope not in caller.key_scopes:
            return "SCOPE_MISSING"
        scopes = {"staff"} if caller.staff else set()
        if not set(self.policy.scopes) <= scopes:
            return "SCOPE_MISSING"
        if self.policy.step_up and not caller.factor:
            return "STEP_UP_REQUIRED"
        if self.access == "staff" and not caller.reason:
            return "ACCESS_REASON_MISSING"
        return ""


def rules(methods: Iterable[MethodDescriptor]) -> list[Rule]:
    """Reads the rules of methods, in order of their paths."""
    found = [
        Rule(
            method.containing_service.file.package.split(".")[1],
            method,
            method.GetOptions().Extensions[options_pb2.policy],
        )
        for method in methods
    ]
    return sorted(found, key=lambda rule: rule.path)


def key_scopes(rules: Iterable[Rule]) -> frozenset[str]:
    """Gathers the scopes that an API key can have."""
    return frozenset(rule.policy.key_scope for rule in rules if rule.policy.key_scope)


def callers(services: Sequence[str], scopes: Iterable[str] = ()) -> list[Caller]:
    """Lists who could try: people and API keys through the edge, and every workload by itself.

    There is a key for each of `scopes`.
    """
    people = [
        Caller(name="nobody", workload=EDGE),
        Caller(name="user", workload=EDGE, holder=EDGE),
        Caller(name="user, no 2nd factor", workload=EDGE, holder=EDGE, factor=False),
        Caller(name="staff", workload=EDGE, holder=EDGE, staff=True, reason=True),
        Caller(name="staff, no reason", workload=EDGE, holder=EDGE, staff=True),
    ]
    keys = [
        Caller(
            name=f"key, {scope}",
            workload=EDGE,
            holder=EDGE,
            factor=False,
            key_scopes=frozenset({scope}),
        )
        for scope in sorted(scopes)
    ]
    workloads = [Caller(name=name, workload=name) for name in (*services, OPERATOR)]
    thieves = [
        Caller(name=f"{name}, edge's token", workload=name, holder=EDGE, staff=True, reason=True)
        for name in services
        if name != EDGE
    ]
    return [*people, *keys, *workloads, *thieves, Caller(name="no certificate", workload="")]
