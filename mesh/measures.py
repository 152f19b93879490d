"""What a process tells the control plane of its own metrics, when it is asked to."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from meshapi.v1 import registry_pb2 as pb
from observability import metrics

__all__ = ["measured"]

_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{.*\})? (\S+)$", re.MULTILINE)


def measured(wanted: pb.RegisterResponse) -> pb.Measured:
    """Measures what is wanted; a metric that the process does not have is left out."""
    told = pb.Measured()
    if wanted.wants_latency:
        told.latency.bounds_s.extend(metrics.RPC_SERVER_CALL_DURATION.bounds)
        told.latency.counts.extend(metrics.RPC_SERVER_CALL_DURATION.buckets())
    if wanted.wanted_metrics:
        told.metrics.extend(_found(frozenset(wanted.wanted_metrics)))
    return told


def _found(names: Collection[str]) -> Iterator[pb.MeasuredMetric]:
    values: dict[str, list[float]] = {}
    for name, value in _SAMPLE.findall(metrics.render().decode()):
        if name in names:
            values.setdefault(name, []).append(float(value))
    for name, found in values.items():
        yield pb.MeasuredMetric(name=name, least=min(found), greatest=max(found))
