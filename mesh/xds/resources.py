"""What a service looks like in xDS: a pure function from the catalogue and the policy to resources.

A service `x` is a listener, a route table, a cluster and an endpoint list, all named `x`. A version
that the policy tells apart is a cluster and an endpoint list of its own, named `x/v2`. Only what
gRPC's clients honour is sent, C-core's first of all: no route timeouts (deadlines are the chassis'
business) and, unless an operator forces it, no `LEAST_REQUEST`, no endpoint weights in a round
robin, no mirroring by the core.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.config_source_pb2 import ApiVersion, ConfigSource
from envoy.config.core.v3.health_check_pb2 import HealthStatus
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as http,
)
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from google.protobuf.any_pb2 import Any as Packed

from mesh.identity.spiffe import spiffe_id
from mesh.xds.bootstrap import CERTIFICATE_PROVIDER, REGION
from mesh.xds.catalogue import Service, outliers
from mesh.xds.policy.document import EMPTY
from mesh.xds.policy.lanes import lanes_of, mirror_rule, subset
from mesh.xds.routes import FAULT_FILTER, route_table
from mesh.xds.zones import Group, groups
from meshapi.v1 import policy_pb2 as pb

__all__ = ["CDS", "EDS", "LDS", "RDS", "TYPES", "Resources", "resources_of", "tombstone"]

_PREFIX = "type.googleapis.com/"
LDS = _PREFIX + Listener.DESCRIPTOR.full_name
RDS = _PREFIX + RouteConfiguration.DESCRIPTOR.full_name
CDS = _PREFIX + Cluster.DESCRIPTOR.full_name
EDS = _PREFIX + ClusterLoadAssignment.DESCRIPTOR.full_name

# What is pointed at goes out before what points at it.
TYPES = (CDS, EDS, LDS, RDS)

# By type, name, and the zone of the clients it is for: "" is for the clients of all other zones.
Resources = dict[tuple[str, str, str], Packed]

# Calls that one process may have running to one service; the rest fails at once.
_MAX_REQUESTS = 1_000

# C-core counts every status but OK as a failure, refusals too. An instance is therefore ejected
# only when next to nothing of enough calls went well, never alone, and never more than half.
_EJECTION = pb.OutlierEjection(
    failure_percent=95, minimum_calls=30, minimum_instances=2, most_ejected_percent=50
)
_EJECTION.interval.FromTimedelta(timedelta(seconds=1))
_EJECTION.ejection.FromTimedelta(timedelta(seconds=3))
_EJECTION.longest_ejection.FromTimedelta(timedelta(seconds=30))


def resources_of(
    service: Service,
    policy: pb.ServicePolicy = EMPTY,
    versions: Iterable[str] = (),
    zones: Iterable[str] = (),
) -> Resources:
    """Derives the resources of a service. The same arguments give the same bytes.

    `versions` are those that get a cluster of their own, `zones` those whose clients get a list of
    their own if the policy makes a difference between zones.
    """
    name = service.name
    found = {
        (LDS, name, ""): _pack(_listener(name, has_faults=bool(policy.faults))),
        (RDS, name, ""): _pack(_routes(service, policy)),
    }
    everyone = sorted(service.endpoints.values(), key=lambda each: (each.zone, each.instance_id))
    clusters = {name: everyone}
    for version in sorted(versions):
        clusters[subset(name, version)] = [each for each in everyone if each.version == version]
    weights = {each.instance_id: each.weight for each in policy.load_balancing.endpoint_weights}
    callers = sorted(zones) if policy.zones.own_first else []
    for cluster, members in clusters.items():
        found[CDS, cluster, ""] = _pack(_cluster(name, cluster, policy))
        for zone in ("", *callers):
            grouped = groups(members, policy.zones, zone)
            # Until every route has left a version, its last instance takes calls as it drains.
            is_last = cluster != name and all(each.draining for each in members)
            found[EDS, cluster, zone] = _pack(_assignment(cluster, grouped, weights, is_last))
    return found


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


def _routes(service: Service, policy: pb.ServicePolicy) -> RouteConfiguration:
    told = policy.mirror
    return route_table(
        service.name,
        lanes_of(service, policy),
        mirror_rule(service, policy),
        subset(service.name, told.to) if told.by_xds else "",
    )


def _listener(name: str, *, has_faults: bool) -> Listener:
    manager = _connection_manager()
    if has_faults:
        # It does nothing by itself: the faults are the routes'.
        manager.http_filters.add(name=FAULT_FILTER).typed_config.Pack(HTTPFault())
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


def _cluster(service: str, name: str, policy: pb.ServicePolicy) -> Cluster:
    cluster = Cluster(name=name, type=Cluster.EDS, lb_policy=Cluster.ROUND_ROBIN)
    if policy.load_balancing.algorithm == pb.LOAD_BALANCER_RING_HASH:
        cluster.lb_policy = Cluster.RING_HASH
    elif policy.load_balancing.algorithm == pb.LOAD_BALANCER_LEAST_REQUEST:
        cluster.lb_policy = Cluster.LEAST_REQUEST
    cluster.eds_cluster_config.eds_config.CopyFrom(_from_this_stream())
    # Clients report their load to whoever they have their resources from.
    cluster.lrs_server.self.SetInParent()
    most = policy.circuit_breaker.max_requests or _MAX_REQUESTS
    cluster.circuit_breakers.thresholds.add().max_requests.value = most
    if not policy.outlier.off:
        _eject(cluster.outlier_detection, policy.outlier)
    tls = UpstreamTlsContext()
    common = tls.common_tls_context
    common.tls_certificate_provider_instance.instance_name = CERTIFICATE_PROVIDER
    validation = common.validation_context
    validation.ca_certificate_provider_instance.instance_name = CERTIFICATE_PROVIDER
    # Without it any certificate of the mesh would pass.
    validation.match_subject_alt_names.add().exact = spiffe_id(service)
    cluster.transport_socket.name = "envoy.transport_sockets.tls"
    cluster.transport_socket.typed_config.Pack(tls, deterministic=True)
    return cluster


def _eject(ejection: Any, told: pb.OutlierEjection) -> None:
    rules: Any = pb.OutlierEjection()
    rules.CopyFrom(_EJECTION)
    for field, _ in told.ListFields():
        # A merge would add up durations.
        rules.ClearField(field.name)
    rules.MergeFrom(told)
    ejection.interval.CopyFrom(rules.interval)
    ejection.base_ejection_time.CopyFrom(rules.ejection)
    ejection.max_ejection_time.CopyFrom(rules.longest_ejection)
    ejection.max_ejection_percent.value = rules.most_ejected_percent
    ejection.enforcing_success_rate.value = 0
    ejection.enforcing_failure_percentage.value = 100
    ejection.failure_percentage_threshold.value = rules.failure_percent
    ejection.failure_percentage_minimum_hosts.value = rules.minimum_instances
    ejection.failure_percentage_request_volume.value = rules.minimum_calls
    if rules.consecutive_5xx:
        ejection.consecutive_5xx.value = rules.consecutive_5xx
        ejection.enforcing_consecutive_5xx.value = 100


def _assignment(
    name: str, grouped: Sequence[Group], weights: dict[str, int], is_last: bool
) -> ClusterLoadAssignment:
    assignment = ClusterLoadAssignment(cluster_name=name)
    spared = outliers(each for group in grouped for each in group.members)
    for group in grouped:
        locality = assignment.endpoints.add(priority=group.priority)
        # Clients drop a group without a locality or a weight.
        locality.locality.region = REGION
        locality.locality.zone = group.zone
        locality.load_balancing_weight.value = group.weight
        for endpoint in group.members:
            entry = locality.lb_endpoints.add()
            address = entry.endpoint.address.socket_address
            address.address = endpoint.host
            address.port_value = endpoint.port
            status = "DRAINING" if endpoint.draining and not is_last else "HEALTHY"
            if endpoint.instance_id in spared:
                status = "UNHEALTHY"
            entry.health_status = HealthStatus.Value(status)
            if endpoint.instance_id in weights:
                entry.load_balancing_weight.value = weights[endpoint.instance_id]
    return assignment


def _from_this_stream() -> ConfigSource:
    source = ConfigSource(resource_api_version=ApiVersion.V3)
    source.ads.SetInParent()
    return source


def _pack(message: Any) -> Packed:
    packed = Packed()
    packed.Pack(message, deterministic=True)
    return packed
