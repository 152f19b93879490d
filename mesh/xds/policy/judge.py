"""Whether a canary's new version is good enough: by its errors, its latency, and what must hold.

Errors are what the clients report (LRS), latencies and metrics what the instances tell of
themselves (`mesh.xds.measured`). Nobody knows yet is an answer too: then the canary waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from mesh.xds.measured import Latencies, Wanted
from mesh.xds.policy.lanes import subset
from meshapi.v1 import policy_pb2 as pb

__all__ = ["Judge", "Load", "Loads", "Measures", "is_under_way", "old_version"]

_LEAST_CALLS = 20
# One failed call proves nothing.
_LEAST_ERRORS = 2
# A percentile of fewer calls is an accident.
_LEAST_FOR_P99 = 100
# The buckets of the histograms are no finer, and nobody notices less.
_LEAST_EXCESS_S = 0.005
_ALL = 100


class Load(Protocol):
    """What clients report of a cluster."""

    @property
    def succeeded(self) -> int: ...
    @property
    def failed(self) -> int: ...


class Loads(Protocol):
    """Whoever collects the reports of the clients."""

    def of(self, cluster: str, seconds: float) -> Load:
        """Sums the calls to a cluster in the last seconds."""
        ...


class Measures(Protocol):
    """Whoever collects what instances tell of themselves."""

    def want(self, wanted: dict[str, Wanted]) -> None: ...
    def latencies(self, service: str, version: str, seconds: float) -> Latencies: ...
    def extremes(self, service: str, metric: str) -> tuple[float, float] | None: ...


class Judge:
    """Judges canaries."""

    def __init__(self, loads: Loads, measures: Measures) -> None:
        self._loads = loads
        self._measures = measures

    def ask(self, policy: pb.MeshPolicy) -> None:
        """Has the instances tell what the canaries that are under way are judged by."""
        latency: set[str] = set()
        metrics: dict[str, set[str]] = {}
        for told in filter(is_under_way, policy.services):
            if told.canary.max_latency_factor:
                latency.add(told.service)
            for bound in told.canary.invariants:
                metrics.setdefault(bound.service or told.service, set()).add(bound.metric)
        self._measures.want(
            {
                name: Wanted(latency=name in latency, metrics=frozenset(metrics.get(name, ())))
                for name in latency | metrics.keys()
            }
        )

    def load(self, told: pb.ServicePolicy, version: str, seconds: float) -> pb.VersionLoad:
        """Tells the load of a version in the last seconds."""
        found = self._loads.of(subset(told.service, version), seconds)
        answered = self._measures.latencies(told.service, version, seconds)
        return pb.VersionLoad(
            ended=found.succeeded + found.failed,
            errors=found.failed,
            p99_ms=round(answered.p99_s * 1e3, 3),
        )

    def fails(self, told: pb.ServicePolicy, seconds: float) -> str:
        """Says why the new version is not good enough; "" when it is, or nobody knows yet."""
        reasons = (
            self._broken(told),
            self._errors(told, seconds),
            self._slowness(told, seconds),
        )
        return next(filter(None, reasons), "")

    def waits_for(self, told: pb.ServicePolicy, seconds: float) -> str:
        """Says what there is not enough of to judge by; "" when there is enough of all."""
        canary = told.canary
        least = canary.minimum_calls or _LEAST_CALLS
        missing = least - self.load(told, canary.to, seconds).ended
        if missing > 0:
            return f"{missing} more calls of {canary.to}"
        for version in self._compared(told):
            missing = _LEAST_FOR_P99 - self._latencies(told, version, seconds).calls
            if missing > 0:
                return f"{missing} more calls of {version} to know its p99 by"
        return next((f"{bound.metric} of {name}" for bound, name in self._silent(told)), "")

    def _errors(self, told: pb.ServicePolicy, seconds: float) -> str:
        canary, was = told.canary, old_version(told.canary)
        new, old = self.load(told, canary.to, seconds), self.load(told, was, seconds)
        if new.ended < (canary.minimum_calls or _LEAST_CALLS):
            return ""
        excess = _percent(new) - _percent(old)
        if new.errors < _LEAST_ERRORS or excess <= canary.max_error_percent:
            return ""
        return (
            f"{canary.to} failed {_percent(new):.1f} % of {new.ended} calls, "
            f"{was} {_percent(old):.1f} % of {old.ended}"
        )

    def _slowness(self, told: pb.ServicePolicy, seconds: float) -> str:
        canary, was = told.canary, old_version(told.canary)
        if not canary.max_latency_factor:
            return ""
        new, old = self._latencies(told, canary.to, seconds), self._latencies(told, was, seconds)
        if min(new.calls, old.calls) < _LEAST_FOR_P99:
            return ""
        allowed_s = max(old.p99_s * canary.max_latency_factor, old.p99_s + _LEAST_EXCESS_S)
        if new.p99_s <= allowed_s:
            return ""
        return (
            f"p99 of {canary.to} is {new.p99_s * 1e3:.0f} ms of {new.calls} calls, "
            f"of {was} {old.p99_s * 1e3:.0f} ms of {old.calls}"
        )

    def _broken(self, told: pb.ServicePolicy) -> str:
        for bound, name in _bounds(told):
            found = self._measures.extremes(name, bound.metric)
            # Written so that what is no number breaks it.
            if found and not (bound.least <= found[0] and found[1] <= bound.greatest):
                worst = found[0] if found[0] < bound.least else found[1]
                allowed = f"{bound.least:g} to {bound.greatest:g}"
                return f"{bound.metric} of {name} is {worst:g}, allowed: {allowed}"
        return ""

    def _silent(self, told: pb.ServicePolicy) -> Iterator[tuple[pb.MetricBound, str]]:
        for bound, name in _bounds(told):
            if self._measures.extremes(name, bound.metric) is None:
                yield bound, name

    def _compared(self, told: pb.ServicePolicy) -> Iterator[str]:
        """The versions whose p99 must be known before the next step."""
        if told.canary.max_latency_factor:
            yield told.canary.to
            if told.canary.steps[told.canary.step].weight < _ALL:
                yield old_version(told.canary)

    def _latencies(self, told: pb.ServicePolicy, version: str, seconds: float) -> Latencies:
        return self._measures.latencies(told.service, version, seconds)


def is_under_way(told: pb.ServicePolicy) -> bool:
    """Whether a service has a canary that has not ended."""
    return told.HasField("canary") and told.canary.state in (
        pb.CANARY_STATE_UNSPECIFIED,
        pb.CANARY_STATE_RUNNING,
    )


def old_version(canary: pb.Canary) -> str:
    """Tells the version of before: its field is named as no Python attribute can be."""
    version: str = getattr(canary, "from")
    return version


def _bounds(told: pb.ServicePolicy) -> Iterable[tuple[pb.MetricBound, str]]:
    return [(bound, bound.service or told.service) for bound in told.canary.invariants]


def _percent(load: pb.VersionLoad) -> float:
    return 100 * load.errors / load.ended if load.ended else 0.0
