"""What instances have measured of themselves, as they tell it with their heartbeats.

Only what somebody wants is told (`want`): latencies as a histogram since the start of the process,
kept for five minutes so that what was between two moments is a difference; metrics as the least and
the greatest of their values, as of the last beat.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from meshapi.v1 import registry_pb2 as pb

__all__ = ["Latencies", "Measurements", "Wanted"]

_KEPT_S = 300.0
# What an instance said of a metric longer ago says nothing of now.
_FRESH_S = 5.0
_P99 = 0.99


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the instances of a service are to tell."""

    latency: bool = False
    metrics: frozenset[str] = frozenset()


NOTHING = Wanted()


@dataclass(frozen=True)
class Latencies:
    """So many calls, and the seconds within which 99 % of them were answered."""

    calls: int = 0
    p99_s: float = 0.0


@dataclass(kw_only=True)
class _Instance:
    service: str
    version: str
    bounds: tuple[float, ...] = ()
    counts: deque[tuple[float, tuple[int, ...]]] = field(default_factory=deque)
    metrics: dict[str, tuple[float, float]] = field(default_factory=dict)
    told_at: float = -math.inf


class Measurements:
    """What all instances have told. `on_want` is called when they are to tell something else."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.on_want: list[Callable[[], None]] = []
        self._clock = clock
        self._wanted: Mapping[str, Wanted] = {}
        self._instances: dict[str, _Instance] = {}

    def want(self, wanted: Mapping[str, Wanted]) -> None:
        """Says what is to be told from now on, by service."""
        if wanted == self._wanted:
            return
        self._wanted = wanted
        for callback in self.on_want:
            callback()

    def wanted_of(self, service: str) -> Wanted:
        """Tells what the instances of a service are to tell."""
        return self._wanted.get(service, NOTHING)

    def take(self, service: str, instance_id: str, version: str, told: pb.Measured) -> None:
        """Takes in what an instance tells."""
        instance = self._instances.get(instance_id)
        if instance is None or (instance.service, instance.version) != (service, version):
            instance = _Instance(service=service, version=version)
            self._instances[instance_id] = instance
        now = instance.told_at = self._clock()
        instance.metrics = {each.name: (each.least, each.greatest) for each in told.metrics}
        self._count(instance, told.latency, now)

    def forget(self, instance_id: str) -> None:
        """Forgets an instance that has left."""
        self._instances.pop(instance_id, None)

    def latencies(self, service: str, version: str, seconds: float) -> Latencies:
        """Tells how long the calls took that a version answered in the last seconds."""
        after = self._clock() - seconds
        found = [
            (each.bounds, _since(each.counts, after))
            for each in self._instances.values()
            if (each.service, each.version) == (service, version) and each.counts
        ]
        if not found or len({bounds for bounds, _ in found}) > 1:
            return Latencies()
        counts = [sum(column) for column in zip(*(each for _, each in found), strict=True)]
        return Latencies(sum(counts), _quantile(found[0][0], counts, _P99))

    def extremes(self, service: str, metric: str) -> tuple[float, float] | None:
        """Tells the least and the greatest value of a metric at a service; None for no value."""
        fresh = list(self._fresh(service, metric))
        if not fresh:
            return None
        return min(least for least, _ in fresh), max(greatest for _, greatest in fresh)

    def _fresh(self, service: str, metric: str) -> Iterator[tuple[float, float]]:
        after = self._clock() - _FRESH_S
        for each in self._instances.values():
            if each.service == service and each.told_at > after and metric in each.metrics:
                yield each.metrics[metric]

    def _count(self, instance: _Instance, told: pb.LatencyHistogram, now: float) -> None:
        bounds, counts = tuple(told.bounds_s), tuple(told.counts)
        if len(counts) != len(bounds) + 1 or bounds != instance.bounds:
            instance.counts.clear()
        if len(counts) != len(bounds) + 1:
            return
        instance.bounds = bounds
        if instance.counts and sum(counts) < sum(instance.counts[-1][1]):
            # Another process under the same name.
            instance.counts.clear()
        instance.counts.append((now, counts))
        while instance.counts[0][0] <= now - _KEPT_S:
            instance.counts.popleft()


def _since(counts: Iterable[tuple[float, tuple[int, ...]]], after: float) -> list[int]:
    """What was counted after a moment: the newest, less the last one before that moment."""
    told = list(counts)
    before = [each for at, each in told if at <= after] or [told[0][1]]
    return [new - old for new, old in zip(told[-1][1], before[-1], strict=True)]


def _quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float:
    """Finds a quantile, evenly spread within its bucket; beyond the last bound, that bound."""
    rank = share * sum(counts)
    if not rank:
        return 0.0
    for upper, lower, reached, count in zip(
        bounds, (0.0, *bounds), accumulate(counts), counts, strict=False
    ):
        if reached >= rank:
            return lower + (upper - lower) * (1 - (reached - rank) / count)
    return bounds[-1] if bounds else 0.0
