"""Who calls whom, as the clients themselves report it (LRS, the load reporting service, v3).

Each client tells once a second how many calls it made to each cluster and zone. That costs the path
of a call nothing. Every status but OK counts as a failure, an answer such as NOT_FOUND too.

Theory of operation. A report is about a span of time that has just ended. It is kept for five
minutes under its edge: who called (by certificate, and the node's own name) and what (cluster and
zone of the instances). Sums over the last seconds are made when they are asked for.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass

import grpc
from envoy.service.load_stats.v3.lrs_pb2 import LoadStatsRequest, LoadStatsResponse

from mesh.errors import Refused
from mesh.identity.refusal import refuse
from mesh.identity.spiffe import workload_of

__all__ = ["KEPT_S", "EdgeKey", "LoadReports", "LoadService", "Totals"]

KEPT_S = 300.0

_INTERVAL_S = 1
_MAX_EDGES = 5_000
_FIRST_MESSAGE_S = 5.0
_SERVICE = "envoy.service.load_stats.v3.LoadReportingService"


@dataclass(frozen=True, order=True)
class EdgeKey:
    """From one process to the instances of a cluster in one zone.

    Without a zone it is about the cluster as a whole: calls that were not let out have none.
    """

    caller: str
    node_id: str
    cluster: str
    zone: str


@dataclass(frozen=True, slots=True)
class Totals:
    """Numbers of calls. `in_progress` is of the last report, the others are sums."""

    issued: int = 0
    succeeded: int = 0
    failed: int = 0
    in_progress: int = 0
    dropped: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.issued + other.issued,
            self.succeeded + other.succeeded,
            self.failed + other.failed,
            self.in_progress + other.in_progress,
            self.dropped + other.dropped,
        )


class LoadReports:
    """The reports of the last five minutes. `clock` tells seconds, monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._reports: dict[EdgeKey, deque[tuple[float, Totals]]] = {}

    def of(self, cluster: str, seconds: float) -> Totals:
        """Sums the calls that all callers made to a cluster in the last seconds."""
        sums = (totals for key, totals in self.edges(seconds).items() if key.cluster == cluster)
        return sum(sums, Totals())

    def edges(self, seconds: float) -> Mapping[EdgeKey, Totals]:
        """Sums the calls of the last seconds by edge, in order. Edges without any are left out."""
        self._forget()
        after = self._clock() - seconds
        found: dict[EdgeKey, Totals] = {}
        for key, reports in sorted(self._reports.items()):
            if recent := [totals for at, totals in reports if at > after]:
                found[key] = _sum(recent)
        return found

    def window(self, seconds: float) -> float:
        """Tells how much of the last seconds there can be reports of."""
        return min(seconds, KEPT_S, self._clock() - self._since)

    def take(self, caller: str, node_id: str, report: LoadStatsRequest) -> None:
        """Takes a report in. Beyond 5,000 edges new ones are not kept."""
        for cluster in report.cluster_stats:
            for zone in cluster.upstream_locality_stats:
                key = EdgeKey(caller, node_id, cluster.cluster_name, zone.locality.zone)
                totals = Totals(
                    zone.total_issued_requests,
                    zone.total_successful_requests,
                    zone.total_error_requests,
                    zone.total_requests_in_progress,
                )
                self._keep(key, totals)
            if cluster.total_dropped_requests:
                key = EdgeKey(caller, node_id, cluster.cluster_name, "")
                self._keep(key, Totals(dropped=cluster.total_dropped_requests))

    def _keep(self, key: EdgeKey, totals: Totals) -> None:
        now = self._clock()
        reports = self._reports.get(key)
        if reports is None:
            if len(self._reports) >= _MAX_EDGES:
                self._forget()
                if len(self._reports) >= _MAX_EDGES:
                    return
            reports = self._reports[key] = deque()
        reports.append((now, totals))
        _drop_old(reports, now)

    def _forget(self) -> None:
        now = self._clock()
        for key, reports in list(self._reports.items()):
            _drop_old(reports, now)
            if not reports:
                del self._reports[key]


def _drop_old(reports: deque[tuple[float, Totals]], now: float) -> None:
    while reports and reports[0][0] <= now - KEPT_S:
        reports.popleft()


def _sum(totals: Iterable[Totals]) -> Totals:
    issued = succeeded = failed = in_progress = dropped = 0
    for each in totals:
        issued += each.issued
        succeeded += each.succeeded
        failed += each.failed
        dropped += each.dropped
        in_progress = each.in_progress
    return Totals(issued, succeeded, failed, in_progress, dropped)


class LoadService:
    """The servicer: one stream per client, and who it is comes from its certificate."""

    def __init__(self, reports: LoadReports) -> None:
        self._reports = reports

    def handler(self) -> grpc.GenericRpcHandler:
        """Makes what a server is given."""
        return grpc.method_handlers_generic_handler(
            _SERVICE,
            {
                "StreamLoadStats": grpc.stream_stream_rpc_method_handler(
                    self._stream,
                    request_deserializer=LoadStatsRequest.FromString,
                    response_serializer=LoadStatsResponse.SerializeToString,
                )
            },
        )

    async def _stream(
        self,
        requests: AsyncIterator[LoadStatsRequest],
        context: grpc.aio.ServicerContext[LoadStatsRequest, LoadStatsResponse],
    ) -> None:
        try:
            caller = workload_of(context)
        except Refused as error:
            await refuse(context, error)
        try:
            async with asyncio.timeout(_FIRST_MESSAGE_S):
                first = await anext(requests, LoadStatsRequest())
        except TimeoutError:
            return
        # Only the first message names the node.
        node_id = first.node.id
        wanted = LoadStatsResponse(send_all_clusters=True)
        wanted.load_reporting_interval.FromSeconds(_INTERVAL_S)
        await context.write(wanted)
        self._reports.take(caller, node_id, first)
        async for report in requests:
            self._reports.take(caller, node_id, report)
