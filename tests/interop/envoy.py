"""The bootstrap of an Envoy that is a client of the mesh: its own certificate, and one listener in
front of one service, whose routes, cluster and endpoints are the control plane's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

_V3 = {"resource_api_version": "V3"}
_EXTENSIONS = "type.googleapis.com/envoy.extensions"


def bootstrap(
    files: Path, control_plane: str, service: str, port: int, admin: int
) -> dict[str, Any]:
    """Makes the bootstrap; `files` are those of `mesh certs issue`."""
    host, _, xds_port = control_plane.rpartition(":")
    return {
        "node": {"id": "envoy-1", "cluster": "envoy", "locality": {"zone": "local"}},
        "admin": {"address": _address("127.0.0.1", admin)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "control-plane"}}],
            },
            "cds_config": {"ads": {}, **_V3},
        },
        "static_resources": {
            "listeners": [_listener(service, port)],
            "clusters": [_control_plane(host, int(xds_port), files)],
            "secrets": _secrets(files),
        },
    }


def _listener(service: str, port: int) -> dict[str, Any]:
    manager = {
        "@type": f"{_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": service,
        "codec_type": "HTTP2",
        "rds": {"route_config_name": service, "config_source": {"ads": {}, **_V3}},
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": f"{_EXTENSIONS}.filters.http.router.v3.Router"},
            }
        ],
    }
    return {
        "name": service,
        "address": _address("127.0.0.1", port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def _control_plane(host: str, port: int, files: Path) -> dict[str, Any]:
    tls = {
        "@type": f"{_EXTENSIONS}.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": host,
        "common_tls_context": {
            "tls_certificates": [
                {
                    "certificate_chain": {"filename": str(files / "cert.pem")},
                    "private_key": {"filename": str(files / "key.pem")},
                }
            ],
            "validation_context": {
                "trusted_ca": {"filename": str(files / "bundle.pem")},
                "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": host}}],
            },
            "alpn_protocols": ["h2"],
        },
    }
    return {
        "name": "control-plane",
        "type": "STRICT_DNS",
        "dns_lookup_family": "V4_PREFERRED",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "transport_socket": {"name": "tls", "typed_config": tls},
        "load_assignment": {
            "cluster_name": "control-plane",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(host, port)}}]}],
        },
    }


def _secrets(files: Path) -> list[dict[str, Any]]:
    """The names by which the control plane's clusters find the certificates."""
    own = {
        "certificate_chain": {"filename": str(files / "cert.pem")},
        "private_key": {"filename": str(files / "key.pem")},
    }
    roots = {"trusted_ca": {"filename": str(files / "bundle.pem")}}
    return [
        {"name": "mesh", "tls_certificate": own},
        {"name": "mesh-roots", "validation_context": roots},
    ]


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
