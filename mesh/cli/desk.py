"""The policy, asked for and changed as the mesh's operator."""

from __future__ import annotations

import getpass
import json
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mesh.cli.control import operator_identity
from mesh.supervisor.problem import FAILED, NOT_RUNNING, USAGE, Problem
from mesh.supervisor.running import Running

if TYPE_CHECKING:
    import grpc

    from mesh.errors import Error
    from meshapi.v1 import policy_pb2 as pb

__all__ = ["Desk", "desk", "read_policy"]

PATIENCE_S = 15.0


class Desk:
    """What an operator asks of the policy. Methods raise Problem for every answer that is a no."""

    def __init__(self, channel: grpc.Channel) -> None:
        from meshapi.v1.policy_pb2_grpc import PolicyServiceStub

        self._stub = PolicyServiceStub(channel)

    def ask(self, method: str, request: Any) -> Any:
        """Asks one of the service's methods."""
        import grpc

        from mesh.rpc.status import error_of

        try:
            return getattr(self._stub, method)(request, timeout=PATIENCE_S)
        except grpc.RpcError as error:
            # The errors of sync calls are calls themselves.
            call: Any = error
            raise _refusal(call.code(), error_of(call)) from None

    def change(
        self, service: str, change: Callable[[pb.ServicePolicy], None], reason: str
    ) -> pb.ApplyPolicyResponse:
        """Changes what is said of a service, and applies it."""
        from mesh.xds.policy.document import EMPTY, of_service
        from meshapi.v1 import policy_pb2 as pb

        current = self.ask("GetPolicy", pb.GetPolicyRequest()).current
        policy = pb.MeshPolicy()
        policy.CopyFrom(current.policy)
        told = of_service(policy, service)
        change(policy.services.add(service=service) if told is EMPTY else told)
        return self.apply(policy, reason, expected=current.revision)

    def apply(
        self,
        policy: pb.MeshPolicy,
        reason: str,
        *,
        expected: int = 0,
        dry_run: bool = False,
        force: bool = False,
    ) -> pb.ApplyPolicyResponse:
        """Applies a whole policy."""
        from meshapi.v1 import policy_pb2 as pb

        request = pb.ApplyPolicyRequest(
            policy=policy,
            expected_revision=expected,
            author=getpass.getuser(),
            reason=reason,
            dry_run=dry_run,
            force=force,
        )
        response: pb.ApplyPolicyResponse = self.ask("ApplyPolicy", request)
        return response


@contextmanager
def desk(running: Running) -> Iterator[Desk]:
    """Connects to the control plane of what is up, as the operator."""
    import grpc

    identity = operator_identity(running)
    credentials = grpc.ssl_channel_credentials(
        identity.roots.read_bytes(), identity.key.read_bytes(), identity.certificate.read_bytes()
    )
    with grpc.secure_channel(running.endpoints.xds, credentials) as channel:
        yield Desk(channel)


def read_policy(file: str) -> pb.MeshPolicy:
    """Reads a policy from a JSON or TOML file; `-` is JSON on standard input."""
    from mesh.errors import InvalidArgument
    from mesh.xds.policy.document import from_json

    remedy = "./bank mesh policy get --output json > policy.json, then change that"
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
        value = tomllib.loads(text) if file.endswith(".toml") else json.loads(text)
        return from_json(value)
    except OSError as error:
        raise Problem(f"{file} cannot be read", str(error.strerror), remedy, USAGE) from None
    except ValueError as error:
        raise Problem(f"{file} is neither JSON nor TOML", str(error), remedy, USAGE) from None
    except InvalidArgument as error:
        raise Problem(f"{file} holds no policy", error.message, remedy, USAGE) from None


def _refusal(code: grpc.StatusCode, error: Error) -> Problem:
    import grpc

    if code is grpc.StatusCode.UNAVAILABLE and not error.reason.startswith("NATS_"):
        what = "the control plane does not answer"
        return Problem(what, error.message, "./bank logs control-plane", NOT_RUNNING)
    if error.reason == "POLICY_REFUSED":
        violations = getattr(error, "violations", ())
        why = "; ".join(f"{each.field}: {each.description}" for each in violations)
        return Problem("the policy is refused", why, "correct what is named", USAGE)
    exit_code = USAGE if code is grpc.StatusCode.INVALID_ARGUMENT else FAILED
    what = f"the control plane answers {code.name} {error.reason}"
    return Problem(what, error.message, "./bank mesh policy history", exit_code)
