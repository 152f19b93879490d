"""The control plane, asked as the mesh's operator."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mesh.supervisor.platform import control_data
from mesh.supervisor.problem import NOT_RUNNING, Problem
from mesh.supervisor.running import Running

if TYPE_CHECKING:
    import grpc

    from meshapi.v1 import registry_pb2, sight_pb2

__all__ = ["OPERATOR", "ControlPlane", "Identity", "control_plane", "operator_identity"]

OPERATOR = "operator"
PATIENCE_S = 5.0
LIFE = timedelta(hours=1)


@dataclass(frozen=True)
class Identity:
    """The operator's certificate, as files: chain, key, the roots of the mesh; and a bootstrap."""

    certificate: Path
    key: Path
    roots: Path
    bootstrap: Path


def operator_identity(running: Running) -> Identity:
    """Gives the operator's certificate, issued from the data directory of what is up.

    It is short-lived, since a change of the root waits for it, and used for half of its life.
    """
    from mesh.identity.files import BOOTSTRAP, issue_files

    folder = running.data / OPERATOR
    found = Identity(
        folder / "cert.pem", folder / "key.pem", folder / "bundle.pem", folder / BOOTSTRAP
    )
    if not _is_fresh(found, running):
        data, near = control_data(running.data), running.endpoints.xds
        issue_files(data, OPERATOR, folder, ttl=LIFE, control_plane=near)
    return found


def _is_fresh(identity: Identity, running: Running) -> bool:
    """Whether a certificate is young, and believes and asks whom it should today."""
    from mesh.identity.join import trust_bundle_file

    try:
        age_s = time.time() - identity.certificate.stat().st_mtime
        roots = trust_bundle_file(control_data(running.data)).read_bytes()
        return (
            age_s < LIFE.total_seconds() / 2
            and identity.roots.read_bytes() == roots
            and running.endpoints.xds in identity.bootstrap.read_text()
        )
    except FileNotFoundError:
        return False


class ControlPlane:
    """What an operator asks the control plane, all of its replicas: a client follows one of them.

    Methods raise Problem when none answers.
    """

    def __init__(self, channels: Sequence[grpc.Channel]) -> None:
        from meshapi.v1.registry_pb2_grpc import RegistryServiceStub
        from meshapi.v1.sight_pb2_grpc import SightServiceStub

        self._sights = [SightServiceStub(channel) for channel in channels]
        self._registries = [RegistryServiceStub(channel) for channel in channels]

    def clients(self, workload: str = "") -> list[sight_pb2.Client]:
        """Lists who follows, and how far each has followed."""
        from meshapi.v1 import sight_pb2

        request = sight_pb2.ListClientsRequest(workload=workload)
        answers = _all((each.ListClients for each in self._sights), request)
        clients = [client for answer in answers for client in answer.clients]
        return sorted(clients, key=lambda each: (each.workload, each.node_id))

    def edges(self, seconds: float, service: str = "") -> sight_pb2.ListEdgesResponse:
        """Tells who called whom in the last seconds."""
        from meshapi.v1 import sight_pb2

        request = sight_pb2.ListEdgesRequest(service=service)
        request.window.FromNanoseconds(round(seconds * 1e9))
        first: sight_pb2.ListEdgesResponse
        first, *others = _all((each.ListEdges for each in self._sights), request)
        for other in others:
            first.edges.extend(other.edges)
        return first

    def resources(self, node_id: str, type: str = "") -> list[sight_pb2.ClientResource]:
        """Lists the resources of a client: those that it has, and those that it should have."""
        from meshapi.v1 import sight_pb2

        request = sight_pb2.DumpClientRequest(node_id=node_id, type=type)
        answers = _all((each.DumpClient for each in self._sights), request)
        return [resource for answer in answers for resource in answer.resources]

    def instances(self) -> list[registry_pb2.Instance]:
        """Lists who is registered, which every replica knows."""
        from meshapi.v1 import registry_pb2

        request = registry_pb2.ListInstancesRequest()
        answers = _all((each.ListInstances for each in self._registries), request)
        return max((list(each.instances) for each in answers), key=len)


@contextmanager
def control_plane(running: Running) -> Iterator[ControlPlane]:
    """Connects to the control plane of what is up, as the operator."""
    import grpc

    identity = operator_identity(running)
    credentials = grpc.ssl_channel_credentials(
        identity.roots.read_bytes(), identity.key.read_bytes(), identity.certificate.read_bytes()
    )
    with ExitStack() as channels:
        yield ControlPlane(
            [
                channels.enter_context(grpc.secure_channel(address, credentials))
                for address in running.endpoints.control_planes
            ]
        )


def _all(methods: Iterable[Any], request: Any) -> list[Any]:
    """Asks each replica; gives the answers. Raises the last Problem when there are none."""
    found: list[Any] = []
    problem: Problem | None = None
    for method in methods:
        try:
            found.append(_asked(method, request))
        except Problem as error:
            problem = error
    if problem is not None and not found:
        raise problem
    return found


def _asked(method: Any, request: Any) -> Any:
    import grpc

    from mesh.rpc.status import error_of

    try:
        return method(request, timeout=PATIENCE_S)
    except grpc.RpcError as error:
        # The errors of sync calls are calls themselves.
        call: Any = error
        code, why = call.code(), error_of(call)
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            what = "the control plane does not answer"
            raise Problem(what, why.message, "./bank logs control-plane", NOT_RUNNING) from None
        what = f"the control plane answers {code.name} {why.reason}"
        raise Problem(what, why.message, "./bank mesh clients") from None
