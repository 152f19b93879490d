"""`meshapi.v1.SightService`: what the control plane sees, for operators."""

from __future__ import annotations

import time
from collections.abc import Iterator

import grpc
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from mesh.errors import NotFound
from mesh.xds.asked import Answer, handler_of
from mesh.xds.load import KEPT_S, LoadReports
from mesh.xds.policy.capabilities import Seen, abilities
from mesh.xds.policy.document import of_service
from mesh.xds.policy.lacks import lacks_of
from mesh.xds.publisher import Publisher
from mesh.xds.resources import CDS, EDS, LDS, RDS
from mesh.xds.snapshot import Resource, Snapshot
from mesh.xds.subscription import Client, Subscription
from meshapi.v1 import policy_pb2 as mesh_policy
from meshapi.v1 import sight_pb2 as pb

__all__ = ["SHORT", "SightService", "clients_of", "edges_of"]

#: The types as people call them.
SHORT = {LDS: "lds", RDS: "rds", CDS: "cds", EDS: "eds"}

_WINDOW_S = 10.0

# The worst last.
_BY_HARM = (
    pb.SYNC_STATE_UNSPECIFIED,
    pb.SYNC_STATE_SYNCED,
    pb.SYNC_STATE_IGNORED,
    pb.SYNC_STATE_NOT_SENT,
    pb.SYNC_STATE_STALE,
    pb.SYNC_STATE_NACKED,
)


class SightService:
    """The servicer. Who may ask is what the contract says."""

    def __init__(self, publisher: Publisher, reports: LoadReports) -> None:
        self._publisher = publisher
        self._reports = reports

    def handler(self) -> grpc.GenericRpcHandler:
        """Makes what a server is given."""
        service = pb.DESCRIPTOR.services_by_name["SightService"]
        answers: dict[str, tuple[Answer, type[Message]]] = {
            "ListClients": (self._list_clients, pb.ListClientsRequest),
            "ListEdges": (self._list_edges, pb.ListEdgesRequest),
            "DumpClient": (self._dump_client, pb.DumpClientRequest),
        }
        return handler_of(service, answers)

    async def _list_clients(self, request: pb.ListClientsRequest) -> pb.ListClientsResponse:
        return clients_of(self._publisher, request.workload)

    async def _list_edges(self, request: pb.ListEdgesRequest) -> pb.ListEdgesResponse:
        asked = request.window.ToNanoseconds() / 1e9 if request.HasField("window") else _WINDOW_S
        return edges_of(self._reports, min(asked, KEPT_S), request.service)

    async def _dump_client(self, request: pb.DumpClientRequest) -> pb.DumpClientResponse:
        clients = [each for each in self._publisher.clients if each.node_id == request.node_id]
        if not clients:
            raise NotFound("CLIENT_UNKNOWN", f"No client named {request.node_id!r} follows now.")
        found = [
            resource
            for client in clients
            for resource in _resources(client, self._publisher.snapshot)
            if request.type in ("", resource.type)
        ]
        found.sort(key=lambda resource: (resource.type, resource.name))
        return pb.DumpClientResponse(resources=found)


def clients_of(publisher: Publisher, workload: str = "") -> pb.ListClientsResponse:
    """Lists the clients that follow, with the state of each of their types."""
    clients = [each for each in publisher.clients if workload in ("", each.workload)]
    clients.sort(key=lambda each: (each.workload, each.node_id, each.connected_at))
    return pb.ListClientsResponse(
        clients=[
            _client(client, publisher.snapshot, _ignored(client, publisher.policy))
            for client in clients
        ]
    )


def edges_of(reports: LoadReports, seconds: float, service: str = "") -> pb.ListEdgesResponse:
    """Tells who called whom in the last seconds."""
    response = pb.ListEdgesResponse()
    response.window.FromNanoseconds(round(reports.window(seconds) * 1e9))
    for key, totals in reports.edges(seconds).items():
        if service in ("", _service_of(key.cluster)):
            response.edges.add(
                caller=key.caller,
                caller_node_id=key.node_id,
                service=_service_of(key.cluster),
                cluster=key.cluster,
                zone=key.zone,
                issued=totals.issued,
                succeeded=totals.succeeded,
                failed=totals.failed,
                in_progress=totals.in_progress,
                dropped=totals.dropped,
            )
    return response


def _service_of(cluster: str) -> str:
    """The cluster of a version of a service is named `service/version`."""
    return cluster.partition("/")[0]


def _ignored(client: Client, policy: mesh_policy.MeshPolicy) -> dict[str, str]:
    """Tells what a client accepts and does nothing of, by type."""
    ability = abilities(Seen(client.agent_name, client.agent_version, client.node_id))
    return {
        lack.type: f"{name}: {lack.field}: {lack.why}"
        for name in sorted(client.subscriptions[LDS].names)
        for lack in lacks_of(of_service(policy, name), ability)
        if lack.ignored
    }


def _client(client: Client, snapshot: Snapshot, ignored: dict[str, str]) -> pb.Client:
    types = [
        _type_state(subscription, snapshot, client.zone, ignored)
        for type_url in SHORT
        if (subscription := client.subscriptions[type_url]).names
    ]
    found = pb.Client(
        node_id=client.node_id,
        workload=client.workload,
        zone=client.zone,
        agent=client.agent,
        peer=client.peer,
        state=max((each.state for each in types), key=_BY_HARM.index, default=_BY_HARM[0]),
        types=types,
    )
    found.connect_time.FromMicroseconds(round(client.connected_at * 1e6))
    return found


def _type_state(
    subscription: Subscription, snapshot: Snapshot, zone: str, ignored: dict[str, str]
) -> pb.TypeState:
    found = pb.TypeState(
        type=SHORT[subscription.type_url],
        state=_state(subscription, snapshot, zone),
        names=sorted(subscription.names),
        version_sent=subscription.version_sent,
        version_acknowledged=subscription.version_acknowledged,
        error=subscription.refusal,
        refusals=subscription.refusals,
    )
    if found.state == pb.SYNC_STATE_SYNCED and found.type in ignored:
        found.state, found.error = pb.SYNC_STATE_IGNORED, ignored[found.type]
    if subscription.on_its_way:
        found.waiting.FromMicroseconds(round((time.time() - subscription.sent_at) * 1e6))
    return found


def _state(subscription: Subscription, snapshot: Snapshot, zone: str) -> pb.SyncState.ValueType:
    if subscription.refusal:
        return pb.SYNC_STATE_NACKED
    current = snapshot.find(subscription.type_url, subscription.names, zone)
    accepted = subscription.acknowledged
    if any(accepted.get(name) != resource.version for name, resource in current.items()):
        return pb.SYNC_STATE_STALE
    return pb.SYNC_STATE_SYNCED if current else pb.SYNC_STATE_NOT_SENT


def _resources(client: Client, snapshot: Snapshot) -> Iterator[pb.ClientResource]:
    for type_url, short in SHORT.items():
        subscription = client.subscriptions[type_url]
        current = snapshot.find(type_url, subscription.names, client.zone)
        for name in sorted(subscription.names):
            now, held = current.get(name), subscription.held.get(name)
            yield pb.ClientResource(
                type=short,
                name=name,
                version_current=now.version if now else 0,
                version_held=held.version if held else 0,
                current_json=_json(now),
                held_json=_json(held),
                error=subscription.refusal,
            )


def _json(resource: Resource | None) -> str:
    return MessageToJson(resource.body, indent=2) if resource else ""
