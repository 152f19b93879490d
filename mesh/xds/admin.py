"""What operators ask the control plane over HTTP; nothing here changes anything.

GET /livez       200 as long as the event loop turns
GET /readyz      200, or 503
GET /instances   who is registered
GET /clients     who follows, and what they were sent, accepted and refused
GET /edges       who called whom in the last ten seconds
GET /metrics     Prometheus text
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus

from google.protobuf.json_format import MessageToDict

from mesh.xds.load import LoadReports
from mesh.xds.publisher import Publisher
from mesh.xds.registry import Registry
from mesh.xds.sight import edges_of
from mesh.xds.subscription import Client, Subscription

__all__ = ["Page", "pages", "serve"]

Page = Callable[[], object]

_REQUEST_TIMEOUT_S = 5.0
_MAX_HEAD = 8_192
_WINDOW_S = 10.0


def pages(
    publisher: Publisher,
    registry: Registry,
    reports: LoadReports,
    is_ready: Callable[[], bool],
) -> dict[str, Page]:
    """Makes the pages, by path. A page that is false answers 503."""
    return {
        "/livez": lambda: {"live": True},
        "/readyz": lambda: {"ready": True} if is_ready() else {},
        "/clients": lambda: {"clients": [_client(client) for client in publisher.clients]},
        "/edges": lambda: _edges(reports),
        "/instances": lambda: {"instances": [MessageToDict(i) for i in registry.instances()]},
        "/metrics": lambda: _metrics(publisher),
    }


async def serve(address: str, content: Mapping[str, Page]) -> asyncio.Server:
    """Serves pages at an address. The caller closes the server."""
    host, _, port = address.rpartition(":")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _REQUEST_TIMEOUT_S)
            writer.write(_response(head, content))
            await writer.drain()
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            return
        finally:
            writer.close()

    return await asyncio.start_server(answer, host.strip("[]"), int(port), limit=_MAX_HEAD)


def _response(head: bytes, content: Mapping[str, Page]) -> bytes:
    method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    page = content.get(rest.partition(" ")[0].partition("?")[0])
    if method != "GET":
        status, body = HTTPStatus.METHOD_NOT_ALLOWED, None
    elif page is None:
        status, body = HTTPStatus.NOT_FOUND, None
    else:
        body = page()
        status = HTTPStatus.OK if body else HTTPStatus.SERVICE_UNAVAILABLE
    is_text = isinstance(body, str)
    payload = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    media_type = "text/plain; version=0.0.4; charset=utf-8" if is_text else "application/json"
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {media_type}\r\n"
        f"Content-Length: {len(payload)}\r\nConnection: close\r\n\r\n"
    ).encode() + payload


def _edges(reports: LoadReports) -> dict[str, object]:
    found = edges_of(reports, _WINDOW_S)
    edges: dict[tuple[str, str], list[int]] = {}
    for edge in found.edges:
        sums = edges.setdefault((edge.caller, edge.service), [0, 0, 0, 0])
        counts = (edge.issued, edge.succeeded, edge.failed, edge.dropped)
        sums[:] = map(sum, zip(sums, counts, strict=True))
    names = ("issued", "succeeded", "failed", "dropped")
    return {
        "window_s": found.window.ToMilliseconds() / 1e3,
        "edges": [
            {"caller": caller, "service": service, **dict(zip(names, sums, strict=True))}
            for (caller, service), sums in edges.items()
        ],
    }


def _metrics(publisher: Publisher) -> str:
    subscriptions = [s for client in publisher.clients for s in client.subscriptions.values()]
    lines = ["# TYPE mesh_xds_clients gauge", f"mesh_xds_clients {len(publisher.clients)}"]
    lines.append("# TYPE mesh_xds_refusing gauge")
    lines.append(f"mesh_xds_refusing {sum(bool(s.refusal) for s in subscriptions)}")
    lines.append("# TYPE mesh_xds_waiting gauge")
    lines.append(f"mesh_xds_waiting {sum(bool(s.on_its_way) for s in subscriptions)}")
    lines.append("# TYPE mesh_xds_refusals_total counter")
    lines.append(f"mesh_xds_refusals_total {publisher.refusals}")
    lines.append("# TYPE mesh_xds_instances gauge")
    for name, service in sorted(publisher.catalogue.services.items()):
        for state, draining in (("ready", False), ("draining", True)):
            count = sum(e.draining is draining for e in service.endpoints.values())
            lines.append(f'mesh_xds_instances{{service="{name}",state="{state}"}} {count}')
    return "\n".join([*lines, ""])


def _client(client: Client) -> dict[str, object]:
    return {
        "workload": client.workload,
        "node": client.node_id,
        "zone": client.zone,
        "agent": client.agent,
        "peer": client.peer,
        "connected_s": round(time.time() - client.connected_at, 3),
        "types": {
            subscription.type_url.rpartition(".")[2]: _subscription(subscription)
            for subscription in client.subscriptions.values()
            if subscription.names
        },
    }


def _subscription(subscription: Subscription) -> dict[str, object]:
    waiting = bool(subscription.on_its_way)
    return {
        "names": sorted(subscription.names),
        "version_sent": subscription.version_sent,
        "version_acknowledged": subscription.version_acknowledged,
        "waiting_s": round(time.time() - subscription.sent_at, 3) if waiting else 0.0,
        "refused": bool(subscription.refusal),
        "refusal": subscription.refusal,
        "refusals": subscription.refusals,
    }
