"""A service's lanes as an xDS route table. A pure function."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import grpc
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher, Route, RouteAction
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from envoy.type.v3.percent_pb2 import FractionalPercent
from google.protobuf.duration_pb2 import Duration

from mesh.rpc.budget import REPEAT_HEADER, REPEAT_NO
from mesh.rpc.mirror import MirrorRule
from mesh.xds.mirrors import tell_mirror
from mesh.xds.policy.lanes import Lane
from meshapi.v1 import policy_pb2 as pb

__all__ = ["FAULT_FILTER", "route_table"]

FAULT_FILTER = "fault"

_NOT_AGAIN = pb.HeaderMatch(name=REPEAT_HEADER, exact=REPEAT_NO)

_PARTS_PER_PERCENT = 10_000
# More calls than any process runs: the number only tells one fault from the next.
_ACTIVE_FAULTS = 1_000_000
_ACTIVE_FAULTS_RANGE = 1_000_000_000


def route_table(
    name: str, lanes: Iterable[Lane], mirror: MirrorRule | None = None, core_mirror: str = ""
) -> RouteConfiguration:
    """Makes the route table of a service. `mirror` is for the chassis of its callers.

    `core_mirror` is a cluster that the core itself is to copy calls to, which gRPC's ignores.
    """
    table = RouteConfiguration(name=name)
    if mirror is not None:
        tell_mirror(table, mirror)
    host = table.virtual_hosts.add(name=name, domains=["*"])
    for lane in lanes:
        if lane.retry is not None:
            # Before the lane itself, for those whose budget of repeated calls is spent.
            _add(host.routes.add(), replace(lane, headers=(*lane.headers, _NOT_AGAIN), retry=None))
        _add(host.routes.add(), lane)
    if core_mirror:
        for route in host.routes:
            route.route.request_mirror_policies.add(cluster=core_mirror)
    return table


def _add(route: Route, lane: Lane) -> None:
    if lane.path:
        route.match.path = lane.path
    else:
        route.match.prefix = ""
    route.match.headers.extend(_matcher(match) for match in lane.headers)
    if len(lane.shares) == 1:
        route.route.cluster = lane.shares[0][0]
    else:
        for cluster, weight in lane.shares:
            route.route.weighted_clusters.clusters.add(name=cluster).weight.value = weight
    # Zero: the caller's own deadline stands. C-core is wrong about limits set here (grpc#34547).
    route.route.max_stream_duration.grpc_timeout_header_max.CopyFrom(Duration())
    if lane.retry is not None:
        _retry(route.route, lane.retry)
    if lane.hash_header:
        route.route.hash_policy.add().header.header_name = lane.hash_header
    if lane.fault is not None:
        route.typed_per_filter_config[FAULT_FILTER].Pack(_fault(lane.fault), deterministic=True)


def _matcher(match: pb.HeaderMatch) -> Any:
    matcher = HeaderMatcher(name=match.name)
    kind = match.WhichOneof("value")
    if kind == "exact":
        matcher.string_match.exact = match.exact
    elif kind == "prefix":
        matcher.string_match.prefix = match.prefix
    elif kind == "regex":
        matcher.string_match.safe_regex.regex = match.regex
    else:
        matcher.present_match = match.present
    return matcher


def _retry(action: RouteAction, rule: pb.RetryRule) -> None:
    policy = action.retry_policy
    policy.retry_on = ",".join(rule.retry_on)
    policy.num_retries.value = rule.num_retries
    policy.retry_back_off.base_interval.CopyFrom(rule.base_interval)
    policy.retry_back_off.max_interval.CopyFrom(rule.max_interval)


def _fault(fault: pb.Fault) -> Any:
    filter_ = HTTPFault()
    if fault.abort:
        filter_.abort.grpc_status = grpc.StatusCode[fault.abort].value[0]
        _percent(filter_.abort.percentage, fault.abort_percent)
    if fault.HasField("delay"):
        filter_.delay.fixed_delay.CopyFrom(fault.delay)
        _percent(filter_.delay.percentage, fault.delay_percent)
    # C-core takes a fault for the one before when only a percentage of it differs.
    digest = zlib.crc32(filter_.SerializeToString(deterministic=True)) % _ACTIVE_FAULTS_RANGE
    filter_.max_active_faults.value = _ACTIVE_FAULTS + digest
    return filter_


def _percent(fraction: Any, percent: float) -> None:
    fraction.numerator = round(percent * _PARTS_PER_PERCENT)
    fraction.denominator = FractionalPercent.MILLION
