"""Counters, gauges and histograms whose attributes are bound once and recorded cheaply.

Names are OpenTelemetry's (`rpc.server.call.duration`, unit `s`); they are written as Prometheus
wants them (`rpc_server_call_duration_seconds`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from typing import Final, Generic, TypeVar

__all__ = [
    "Counter",
    "CounterCell",
    "Gauge",
    "GaugeCell",
    "Histogram",
    "HistogramCell",
    "Instrument",
    "escape",
]

MAX_CELLS: Final = 2_000
"""The most combinations of attributes an instrument keeps; what is beyond is `_OTHER`."""

_OTHER: Final = "_OTHER"
_UNITS: Final = {"s": "_seconds", "By": "_bytes", "1": "_ratio"}

C = TypeVar("C")


class CounterCell:
    """A sum that only grows, of one combination of attributes."""

    __slots__ = ("_lock", "value")

    def __init__(self) -> None:
        self.value: float = 0
        self._lock = Lock()

    def add(self, amount: float = 1) -> None:
        """Adds to the sum."""
        with self._lock:
            self.value += amount

    def raise_to(self, total: float) -> None:
        """Follows a sum that is kept elsewhere and may begin again from nothing."""
        with self._lock:
            self.value = max(self.value, total)


class GaugeCell:
    """A value that goes up and down, of one combination of attributes."""

    __slots__ = ("_observe", "_value")

    def __init__(self) -> None:
        self._value: float | None = None
        self._observe: Callable[[], float | None] | None = None

    @property
    def value(self) -> float | None:
        """The value now; None if there is none."""
        if self._observe is None:
            return self._value
        try:
            return self._observe()
        except Exception:
            return None

    def set(self, value: float) -> None:
        """Sets the value."""
        self._value = value

    def observe(self, callback: Callable[[], float | None] | None) -> None:
        """Asks `callback` for the value whenever metrics are read; it must not block."""
        self._observe = callback


class HistogramCell:
    """Counts per bucket, of one combination of attributes.

    `exemplars` has, for each bucket, the last value that a trace was recorded of, and the trace.
    """

    __slots__ = ("_bounds", "_lock", "counts", "exemplars", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.exemplars: list[tuple[float, int] | None] = [None] * (len(bounds) + 1)
        self.total = 0.0
        self._lock = Lock()

    def record(self, value: float, trace_id: int = 0) -> None:
        """Counts a value; `trace_id` is of the trace that tells more of it, 0 if none does."""
        bucket = bisect_left(self._bounds, value)
        with self._lock:
            self.counts[bucket] += 1
            self.total += value
        if trace_id:
            self.exemplars[bucket] = (value, trace_id)


class Instrument(Generic[C]):
    """A metric: a name, a unit, and a cell for every combination of attributes."""

    type: str = ""

    def __init__(
        self, name: str, unit: str, description: str, attributes: Sequence[str] = ()
    ) -> None:
        self.name = name
        self.exposed = name.replace(".", "_") + _UNITS.get(unit, "")
        self.description = description
        self.attributes = tuple(attributes)
        self._labels = tuple(attribute.replace(".", "_") for attribute in attributes)
        self._cells: dict[tuple[str, ...], C] = {}
        self._lock = Lock()

    def bind(self, *values: str) -> C:
        """Gives the cell of these attributes, in the order of `attributes`; keep it."""
        cell = self._cells.get(values)
        if cell is not None:
            return cell
        if len(values) != len(self.attributes):
            raise ValueError(f"{self.name} has the attributes {self.attributes}")
        with self._lock:
            if len(self._cells) >= MAX_CELLS:
                values = (_OTHER,) * len(values)
            return self._cells.setdefault(values, self._new())

    def lines(self, *, openmetrics: bool = False) -> Iterator[str]:
        """Writes the metric in Prometheus' text format, or in OpenMetrics', with exemplars."""
        cells = sorted(self._cells.items())
        if cells:
            family = self.exposed.removesuffix("_total") if openmetrics else self.exposed
            yield f"# HELP {family} {self.description}"
            yield f"# TYPE {family} {self.type}"
        for values, cell in cells:
            labels = ",".join(
                f'{label}="{escape(value)}"'
                for label, value in zip(self._labels, values, strict=True)
                if value
            )
            yield from self._samples(cell, labels, openmetrics)

    def _new(self) -> C:
        raise NotImplementedError

    def _samples(self, cell: C, labels: str, openmetrics: bool) -> Iterator[str]:
        raise NotImplementedError


class Counter(Instrument[CounterCell]):
    """How many; only grows."""

    type = "counter"

    def __init__(
        self, name: str, unit: str, description: str, attributes: Sequence[str] = ()
    ) -> None:
        super().__init__(name, unit, description, attributes)
        self.exposed += "_total"

    def add(self, amount: float, *values: str) -> None:
        """Adds to the sum of these attributes."""
        self.bind(*values).add(amount)

    def _new(self) -> CounterCell:
        return CounterCell()

    def _samples(self, cell: CounterCell, labels: str, openmetrics: bool) -> Iterator[str]:
        yield f"{self.exposed}{_braces(labels)} {cell.value!r}"


class Gauge(Instrument[GaugeCell]):
    """How much at the moment."""

    type = "gauge"

    def set(self, value: float, *values: str) -> None:
        """Sets the value of these attributes."""
        self.bind(*values).set(value)

    def observe(self, callback: Callable[[], float | None] | None, *values: str) -> None:
        """Asks `callback` for the value of these attributes whenever metrics are read."""
        self.bind(*values).observe(callback)

    def _new(self) -> GaugeCell:
        return GaugeCell()

    def _samples(self, cell: GaugeCell, labels: str, openmetrics: bool) -> Iterator[str]:
        value = cell.value
        if value is not None:
            yield f"{self.exposed}{_braces(labels)} {value!r}"


class Histogram(Instrument[HistogramCell]):
    """How values are distributed, in buckets with the upper bounds `bounds`."""

    type = "histogram"

    def __init__(
        self,
        name: str,
        unit: str,
        description: str,
        attributes: Sequence[str],
        bounds: Sequence[float],
    ) -> None:
        super().__init__(name, unit, description, attributes)
        self.bounds = tuple(bounds)

    def record(self, value: float, *values: str, trace_id: int = 0) -> None:
        """Counts a value of these attributes; `trace_id` as in `HistogramCell.record`."""
        self.bind(*values).record(value, trace_id)

    def buckets(self) -> list[int]:
        """Counts the values in each bucket, whatever their attributes."""
        counted = [list(cell.counts) for cell in list(self._cells.values())]
        return [sum(column) for column in zip([0] * (len(self.bounds) + 1), *counted, strict=True)]

    def _new(self) -> HistogramCell:
        return HistogramCell(self.bounds)

    def _samples(self, cell: HistogramCell, labels: str, openmetrics: bool) -> Iterator[str]:
        counts, total = list(cell.counts), cell.total
        before = f"{labels}," if labels else ""
        seen = 0
        bounds = (*map(repr, self.bounds), "+Inf")
        for bound, count, exemplar in zip(bounds, counts, cell.exemplars, strict=True):
            seen += count
            line = f'{self.exposed}_bucket{{{before}le="{bound}"}} {seen}'
            if openmetrics and exemplar is not None:
                value, trace_id = exemplar
                line += f' # {{trace_id="{trace_id:032x}"}} {value!r}'
            yield line
        yield f"{self.exposed}_sum{_braces(labels)} {total!r}"
        yield f"{self.exposed}_count{_braces(labels)} {seen}"


def escape(value: str) -> str:
    """Escapes a label's value."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _braces(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""
