"""What a service looks like in xDS: a pure function from the catalogue to resources.

A service `x` is a listener, a route table, a cluster and an endpoint list, all named `x`. Only what
gRPC's clients honour is sent, C-core's first of all: no route timeouts (deadlines are the chassis'
business), no `LEAST_REQUEST`, no endpoint weights, no mirroring.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from itertools import groupby
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.config_source_pb2 import ApiVersion, ConfigSource
from envoy.config.core.v3.health_check_pb2 import HealthStatus
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, RouteAction
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as http,
)
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration

from mesh.identity.spiffe import spiffe_id
from mesh.xds.bootstrap import CERTIFICATE_PROVIDER, REGION
from mesh.xds.catalogue import Endpoint, Method, Service

__all__ = ["CDS", "EDS", "LDS", "RDS", "TYPES", "resources_of", "tombstone"]

_PREFIX = "type.googleapis.com/"
LDS = _PREFIX + Listener.DESCRIPTOR.full_name
RDS = _PREFIX + RouteConfiguration.DESCRIPTOR.full_name
CDS = _PREFIX + Cluster.DESCRIPTOR.full_name
EDS = _PREFIX + ClusterLoadAssignment.DESCRIPTOR.full_name

# What is pointed at goes out before what points at it.
TYPES = (CDS, EDS, LDS, RDS)

# C-core takes no other names for what it may repeat than these and a few it should not.
_RETRY_ON = "unavailable,cancelled"
_RETRIES = 3
# Under 2 ms C-core loses calls (grpc/grpc#41036).
_RETRY_BASE = timedelta(milliseconds=25)
_RETRY_LIMIT = timedelta(milliseconds=250)

# Calls that one process may have running to one service; the rest fails at once.
_MAX_REQUESTS = 1_000

# C-core counts every status but OK as a failure, refusals too. An instance is therefore ejected
# only when next to nothing of enough calls went well, never alone, and never more than half.
_EJECTION_THRESHOLD_PERCENT = 95
_EJECTION_LEAST_CALLS = 30
_EJECTION_LEAST_INSTANCES = 2
_EJECTION_MOST_PERCENT = 50
_EJECTION_INTERVAL = timedelta(seconds=1)
_EJECTION_FIRST = timedelta(seconds=3)
_EJECTION_LONGEST = timedelta(seconds=30)


def resources_of(service: Service) -> dict[str, Packed]:
    """Derives the resources of a service, by type. The same service gives the same bytes."""
    return {
        LDS: _pack(_listener(service.name)),
        RDS: _pack(_routes(service.name, service.methods)),
        CDS: _pack(_cluster(service.name)),
        EDS: _pack(_assignment(service.name, service.endpoints.values())),
    }


def tombstone(name: str) -> Packed:
    """Makes the listener of a name that nobody knows: no route matches, so calls fail at once.

    Without an answer a C-core client waits for 15 seconds.
    """
    manager = _connection_manager()
    host = manager.route_config.virtual_hosts.add(name="unknown", domains=["*"])
    route = host.routes.add()
    route.match.path = "/"
    route.non_forwarding_action.SetInParent()
    manager.route_config.name = f"unknown service {name}"
    return _pack(_listener_of(name, manager))


def _listener(name: str) -> Listener:
    manager = _connection_manager()
    manager.rds.config_source.CopyFrom(_from_this_stream())
    manager.rds.route_config_name = name
    return _listener_of(name, manager)


def _listener_of(name: str, manager: Any) -> Listener:
    # The router must be the last filter, and there must be one.
    manager.http_filters.add(name="router").typed_config.Pack(Router())
    listener = Listener(name=name)
    listener.api_listener.api_listener.Pack(manager, deterministic=True)
    return listener


def _connection_manager() -> Any:
    return http.HttpConnectionManager()


def _routes(name: str, methods: Iterable[Method]) -> RouteConfiguration:
    table = RouteConfiguration(name=name)
    host = table.virtual_hosts.add(name=name, domains=["*"])
    for method in sorted(methods, key=lambda method: method.path):
        if method.retriable:
            route = host.routes.add()
            route.match.path = method.path
            _forward(route, name)
            _retry(route.route)
    route = host.routes.add()
    route.match.prefix = ""
    _forward(route, name)
    return table


def _forward(route: Route, cluster: str) -> None:
    route.route.cluster = cluster
    # Zero: the caller's own deadline stands. C-core is wrong about limits set here (grpc#34547).
    route.route.max_stream_duration.grpc_timeout_header_max.CopyFrom(Duration())


def _retry(action: RouteAction) -> None:
    policy = action.retry_policy
    policy.retry_on = _RETRY_ON
    policy.num_retries.value = _RETRIES
    policy.retry_back_off.base_interval.FromTimedelta(_RETRY_BASE)
    policy.retry_back_off.max_interval.FromTimedelta(_RETRY_LIMIT)


def _cluster(name: str) -> Cluster:
    cluster = Cluster(name=name, type=Cluster.EDS, lb_policy=Cluster.ROUND_ROBIN)
    cluster.eds_cluster_config.eds_config.CopyFrom(_from_this_stream())
    cluster.circuit_breakers.thresholds.add().max_requests.value = _MAX_REQUESTS
    ejection = cluster.outlier_detection
    ejection.interval.FromTimedelta(_EJECTION_INTERVAL)
    ejection.base_ejection_time.FromTimedelta(_EJECTION_FIRST)
    ejection.max_ejection_time.FromTimedelta(_EJECTION_LONGEST)
    ejection.max_ejection_percent.value = _EJECTION_MOST_PERCENT
    ejection.enforcing_success_rate.value = 0
    ejection.enforcing_failure_percentage.value = 100
    ejection.failure_percentage_threshold.value = _EJECTION_THRESHOLD_PERCENT
    ejection.failure_percentage_minimum_hosts.value = _EJECTION_LEAST_INSTANCES
    ejection.failure_percentage_request_volume.value = _EJECTION_LEAST_CALLS
    tls = UpstreamTlsContext()
    common = tls.common_tls_context
    common.tls_certificate_provider_instance.instance_name = CERTIFICATE_PROVIDER
    validation = common.validation_context
    validation.ca_certificate_provider_instance.instance_name = CERTIFICATE_PROVIDER
    # Without it any certificate of the mesh would pass.
    validation.match_subject_alt_names.add().exact = spiffe_id(name)
    cluster.transport_socket.name = "envoy.transport_sockets.tls"
    cluster.transport_socket.typed_config.Pack(tls, deterministic=True)
    return cluster


def _assignment(name: str, endpoints: Iterable[Endpoint]) -> ClusterLoadAssignment:
    assignment = ClusterLoadAssignment(cluster_name=name)
    ordered = sorted(endpoints, key=lambda e: (e.zone, e.instance_id))
    for zone, group in groupby(ordered, key=lambda e: e.zone):
        members = list(group)
        locality = assignment.endpoints.add()
        # Clients drop a group without a locality or a weight. By weight each instance, in
        # whatever zone, gets the same share.
        locality.locality.region = REGION
        locality.locality.zone = zone
        locality.load_balancing_weight.value = max(1, sum(not e.draining for e in members))
        for endpoint in members:
            entry = locality.lb_endpoints.add()
            address = entry.endpoint.address.socket_address
            address.address = endpoint.host
            address.port_value = endpoint.port
            status = "DRAINING" if endpoint.draining else "HEALTHY"
            entry.health_status = HealthStatus.Value(status)
    return assignment


def _from_this_stream() -> ConfigSource:
    source = ConfigSource(resource_api_version=ApiVersion.V3)
    source.ads.SetInParent()
    return source


def _pack(message: Any) -> Packed:
    packed = Packed()
    packed.Pack(message, deterministic=True)
    return packed
