from __future__ import annotations

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest

from mesh.xds.catalogue import Endpoint, Service, outliers
from mesh.xds.resources import CDS, resources_of
from mesh.xds.snapshot import Snapshot
from mesh.xds.subscription import Client


def an_endpoint(name: str, *, failing: bool = False, draining: bool = False) -> Endpoint:
    return Endpoint(instance_id=name, host="127.0.0.1", port=1, failing=failing, draining=draining)


def test_envoy_is_given_all_clusters_in_its_own_words() -> None:
    snapshot = Snapshot()
    for name in ("accounts", "users"):
        snapshot.update(resources_of(Service(name=name)))
    client = Client("envoy", "peer")
    request = DiscoveryRequest(type_url=CDS)
    request.node.id, request.node.user_agent_name = "envoy-1", "envoy"
    client.receive(request)

    (answer,) = client.answers(snapshot)

    clusters = [Cluster.FromString(resource.value) for resource in answer.resources]
    assert [cluster.name for cluster in clusters] == ["accounts", "users"]
    tls = UpstreamTlsContext()
    clusters[0].transport_socket.typed_config.Unpack(tls)
    combined = tls.common_tls_context.combined_validation_context
    (name,) = combined.default_validation_context.match_typed_subject_alt_names
    assert name.matcher.exact == "spiffe://bank.local/accounts"
    assert list(clusters[0].typed_extension_protocol_options) == [
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    ]

    again = DiscoveryRequest(
        type_url=CDS, response_nonce=answer.nonce, version_info=answer.version_info
    )
    client.receive(again)
    assert not list(client.answers(snapshot))
    snapshot.update(resources_of(Service(name="pix")))
    (answer,) = client.answers(snapshot)
    assert len(answer.resources) == 3


def test_who_fails_is_spared_as_long_as_most_do_not() -> None:
    good, bad = an_endpoint("a"), an_endpoint("b", failing=True)
    worse, gone = an_endpoint("c", failing=True), an_endpoint("d", draining=True)

    assert outliers([good, bad]) == {"b"}
    assert outliers([good, bad, gone]) == {"b"}
    assert outliers([good, bad, worse]) == frozenset()
    assert outliers([bad]) == frozenset()
