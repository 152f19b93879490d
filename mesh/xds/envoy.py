"""What Envoy needs said differently: gRPC's clients and Envoy read the same cluster by other rules.

gRPC's clients always speak HTTP/2 and find their certificates by the name of a provider in their
bootstrap. Envoy must be told to speak HTTP/2, and finds certificates by the name of a secret: it is
given `mesh` for its own and `mesh-roots` for those it verifies by, which its bootstrap defines
(`mesh certs issue` writes the files).
"""

from __future__ import annotations

from functools import lru_cache

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from google.protobuf.any_pb2 import Any as Packed

from mesh.xds.bootstrap import CERTIFICATE_PROVIDER

__all__ = ["AGENT", "ROOTS", "cluster_for_envoy"]

AGENT = "envoy"
ROOTS = f"{CERTIFICATE_PROVIDER}-roots"

_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TLS_URI = 3


def cluster_for_envoy(body: Packed) -> Packed:
    """Makes of a cluster of ours one that Envoy understands."""
    adapted = Packed(type_url=body.type_url)
    adapted.value = _adapted(body.value)
    return adapted


@lru_cache(maxsize=2_000)
def _adapted(value: bytes) -> bytes:
    cluster = Cluster.FromString(value)
    options = HttpProtocolOptions()
    options.explicit_http_config.http2_protocol_options.SetInParent()
    cluster.typed_extension_protocol_options[_HTTP].Pack(options, deterministic=True)
    cluster.ClearField("lrs_server")
    tls = UpstreamTlsContext()
    cluster.transport_socket.typed_config.Unpack(tls)
    common = tls.common_tls_context
    names = [matcher.exact for matcher in common.validation_context.match_subject_alt_names]
    common.Clear()
    common.alpn_protocols.append("h2")
    common.tls_certificate_sds_secret_configs.add(name=CERTIFICATE_PROVIDER)
    combined = common.combined_validation_context
    combined.validation_context_sds_secret_config.name = ROOTS
    for name in names:
        matcher = combined.default_validation_context.match_typed_subject_alt_names.add()
        matcher.san_type = _TLS_URI
        matcher.matcher.exact = name
    cluster.transport_socket.typed_config.Pack(tls, deterministic=True)
    value = cluster.SerializeToString(deterministic=True)
    assert isinstance(value, bytes)
    return value
