from __future__ import annotations

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.health_check_pb2 import HealthStatus
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as http,
)
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext

from mesh.xds.catalogue import Endpoint, Method, Service
from mesh.xds.resources import CDS, EDS, LDS, RDS, resources_of, tombstone


def an_endpoint(instance_id: str, zone: str = "z", *, draining: bool = False) -> Endpoint:
    return Endpoint(instance_id=instance_id, host="127.0.0.1", port=1, zone=zone, draining=draining)


def a_service(*endpoints: Endpoint, methods: tuple[Method, ...] = ()) -> Service:
    by_id = {endpoint.instance_id: endpoint for endpoint in endpoints}
    return Service(name="accounts", methods=methods, endpoints=by_id)


def body(type_url: str, service: Service) -> bytes:
    value: bytes = resources_of(service)[type_url, service.name, ""].value
    return value


def test_only_retriable_methods_are_repeated() -> None:
    get = Method(path="/a.A/Get", retriable=True)
    do = Method(path="/a.A/Do", retriable=False)

    table = RouteConfiguration.FromString(body(RDS, a_service(methods=(do, get))))

    not_again, once, rest = table.virtual_hosts[0].routes
    assert [match.name for match in not_again.match.headers] == ["mesh-repeat"]
    assert not not_again.route.HasField("retry_policy")
    assert once.match.path == "/a.A/Get"
    assert once.route.retry_policy.retry_on == "unavailable,cancelled"
    assert once.route.retry_policy.num_retries.value == 3
    assert once.route.retry_policy.retry_back_off.base_interval.ToMilliseconds() == 25
    assert rest.match.prefix == ""
    assert not rest.route.HasField("retry_policy")


def test_no_route_limits_the_callers_deadline() -> None:
    get = Method(path="/a.A/Get", retriable=True)

    table = RouteConfiguration.FromString(body(RDS, a_service(methods=(get,))))

    for route in table.virtual_hosts[0].routes:
        limit = route.route.max_stream_duration
        assert limit.HasField("grpc_timeout_header_max")
        assert limit.grpc_timeout_header_max.ToMilliseconds() == 0
        assert not limit.HasField("max_stream_duration")


def test_only_the_service_itself_may_answer() -> None:
    cluster = Cluster.FromString(body(CDS, a_service()))

    tls = UpstreamTlsContext.FromString(cluster.transport_socket.typed_config.value)
    validation = tls.common_tls_context.validation_context
    assert [name.exact for name in validation.match_subject_alt_names] == [
        "spiffe://bank.local/accounts"
    ]
    assert validation.ca_certificate_provider_instance.instance_name == "mesh"


def test_every_zone_weighs_as_much_as_it_has_instances() -> None:
    service = a_service(
        an_endpoint("a", "z1"),
        an_endpoint("b", "z2"),
        an_endpoint("c", "z2"),
        an_endpoint("d", "z1"),
    )

    assignment = ClusterLoadAssignment.FromString(body(EDS, service))

    weights = {
        group.locality.zone: group.load_balancing_weight.value for group in assignment.endpoints
    }
    assert weights == {"z1": 2, "z2": 2}


def test_one_that_drains_stays_listed_and_says_so() -> None:
    service = a_service(an_endpoint("a", draining=True), an_endpoint("b"))

    (zone,) = ClusterLoadAssignment.FromString(body(EDS, service)).endpoints

    assert [entry.health_status for entry in zone.lb_endpoints] == [
        HealthStatus.DRAINING,
        HealthStatus.HEALTHY,
    ]
    assert zone.load_balancing_weight.value == 1


def test_the_router_is_the_last_filter() -> None:
    listener = Listener.FromString(body(LDS, a_service()))

    manager = http.HttpConnectionManager.FromString(listener.api_listener.api_listener.value)
    assert [entry.name for entry in manager.http_filters] == ["router"]
    assert manager.rds.route_config_name == "accounts"


def test_the_same_service_gives_the_same_bytes() -> None:
    first = a_service(an_endpoint("a"), an_endpoint("b"))
    second = a_service(an_endpoint("b"), an_endpoint("a"))

    assert resources_of(first) == resources_of(second)


def test_a_tombstone_has_no_route_to_anywhere() -> None:
    listener = Listener.FromString(tombstone("nobody").value)

    manager = http.HttpConnectionManager.FromString(listener.api_listener.api_listener.value)
    (route,) = manager.route_config.virtual_hosts[0].routes
    assert listener.name == "nobody"
    assert route.HasField("non_forwarding_action")
