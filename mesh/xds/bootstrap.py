"""What a gRPC client must know to follow the control plane (gRFC A27, A29, A53).

Set `GRPC_XDS_BOOTSTRAP_CONFIG` to it, as JSON, before the first `xds:///` channel is made, and make
channels with `grpc.xds_channel_credentials()`: an insecure channel would ignore the cluster's TLS.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["CERTIFICATE_PROVIDER", "REGION", "Node", "NodeSettings", "bootstrap"]

CERTIFICATE_PROVIDER = "mesh"
REGION = "bank"

_REFRESH_INTERVAL = "5s"


class NodeSettings(Protocol):
    """What of a process's settings the control plane is told. `mesh.settings.Settings` fits."""

    @property
    def service(self) -> str: ...
    @property
    def instance_id(self) -> str: ...
    @property
    def zone(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def control_plane(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Node:
    """A process without settings of its own; `control_plane` is `host:port`."""

    service: str
    instance_id: str
    zone: str
    version: str
    control_plane: str


def bootstrap(settings: NodeSettings, identity_dir: Path, fallback: str = "") -> dict[str, object]:
    """Makes the bootstrap of a process whose certificate lies in `identity_dir`.

    `fallback` is where the process itself stands in for a control plane (`mesh.xds.fallback`).
    """
    directory = identity_dir.absolute()
    files = {
        "certificate_file": str(directory / "cert.pem"),
        "private_key_file": str(directory / "key.pem"),
        "ca_certificate_file": str(directory / "bundle.pem"),
        "refresh_interval": _REFRESH_INTERVAL,
    }
    # The host name is verified: it must be in the control plane's certificate.
    servers = [_server(f"dns:///{settings.control_plane}", {"type": "tls", "config": files})]
    if fallback:
        servers.append(_server(fallback, {"type": "insecure"}))
    return {
        "xds_servers": servers,
        "node": {
            "id": settings.instance_id,
            "cluster": settings.service,
            "locality": {"region": REGION, "zone": settings.zone},
            "metadata": {"version": settings.version},
        },
        "certificate_providers": {
            CERTIFICATE_PROVIDER: {"plugin_name": "file_watcher", "config": files}
        },
    }


def _server(uri: str, credentials: dict[str, object]) -> dict[str, object]:
    return {
        "server_uri": uri,
        "channel_creds": [credentials],
        # A control plane that forgets must not take the mesh down with it.
        "server_features": ["xds_v3", "ignore_resource_deletion"],
    }
