"""Rates, success and percentiles, made from what the processes counted over a window."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mesh.cli.figures import Distribution
from mesh.cli.sample import Window

__all__ = ["Rates", "Tally", "edge_rates", "method_rates", "request_rates", "service_rates"]

SERVED = "rpc_server_call_duration_seconds"
CALLED = "rpc_client_call_duration_seconds"
ASKED = "http_server_request_duration_seconds"


@dataclass(frozen=True)
class Rates:
    """How calls went. `success` is the part that did not fail; None without calls.

    An answer that says no, such as NOT_FOUND, is a success: the service did what it should.
    Percentiles are in milliseconds.
    """

    calls: int = 0
    rps: float = 0.0
    success: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None

    def facts(self) -> dict[str, object]:
        """The numbers, as they are printed as JSON."""
        return {
            "calls": self.calls,
            "rps": round(self.rps, 2),
            "success": self.success and round(self.success, 5),
            "p50Ms": self.p50_ms,
            "p95Ms": self.p95_ms,
            "p99Ms": self.p99_ms,
        }

    def cells(self) -> tuple[str | None, ...]:
        """The numbers, as they are printed in a table: success, rate, percentiles."""
        success = None if self.success is None else f"{self.success:.2%}"
        times = (self.p50_ms, self.p95_ms, self.p99_ms)
        return (success, f"{self.rps:.1f}", *(None if t is None else f"{t:.1f}ms" for t in times))


def service_rates(windows: Iterable[Window]) -> Rates:
    """How the calls went that processes answered: over gRPC, and where there are none, over HTTP.

    An edge answers over HTTP, and is looked after over gRPC.
    """
    windows = list(windows)
    return _merged(method_rates(windows)) or _merged(request_rates(windows)) or Rates()


def method_rates(windows: Iterable[Window]) -> dict[tuple[str, ...], Tally]:
    """How the calls of each method went, by `(method,)`, as its servers saw them."""
    return _tallied(windows, SERVED, ("rpc_method",), "rpc_status_code", _is_fault)


def edge_rates(windows: Iterable[Window]) -> dict[tuple[str, ...], Tally]:
    """How the calls of each method went, by `(caller, service, method)`, as callers saw them."""
    found: dict[tuple[str, ...], Tally] = {}
    for window in windows:
        by = ("service_peer_name", "rpc_method")
        for key, tally in _tallied([window], CALLED, by, "rpc_status_code", _is_fault).items():
            found.setdefault((window.page.service, *key), Tally()).add(tally)
    return found


def request_rates(windows: Iterable[Window]) -> dict[tuple[str, ...], Tally]:
    """How HTTP requests went, by `(method, route)`."""
    by = ("http_request_method", "http_route")
    return _tallied(windows, ASKED, by, "http_response_status_code", lambda code: code >= "500")


class Tally:
    """Calls being added up; `rates` tells how they went."""

    def __init__(self) -> None:
        self.rps = 0.0
        self.failed = 0.0
        self.durations = Distribution()

    def count(self, durations: Distribution, seconds: float, *, failed: bool) -> None:
        self.rps += durations.count / seconds
        self.failed += durations.count if failed else 0.0
        self.durations = Distribution.sum([self.durations, durations])

    def add(self, other: Tally) -> None:
        self.rps += other.rps
        self.failed += other.failed
        self.durations = Distribution.sum([self.durations, other.durations])

    @property
    def rates(self) -> Rates:
        calls = self.durations.count
        if not calls:
            return Rates()
        return Rates(
            round(calls), self.rps, 1 - self.failed / calls, *map(self._ms, (0.5, 0.95, 0.99))
        )

    def _ms(self, part: float) -> float | None:
        seconds = self.durations.quantile(part)
        return None if seconds is None else round(seconds * 1e3, 2)


def _merged(tallies: dict[tuple[str, ...], Tally]) -> Rates | None:
    whole = Tally()
    for tally in tallies.values():
        whole.add(tally)
    return whole.rates if whole.durations.count else None


def _tallied(
    windows: Iterable[Window],
    metric: str,
    by: tuple[str, ...],
    code_label: str,
    is_failure: Callable[[str], bool],
) -> dict[tuple[str, ...], Tally]:
    found: dict[tuple[str, ...], Tally] = {}
    for window in windows:
        for (*key, code), durations in window.grown.distributions(metric, *by, code_label).items():
            tally = found.setdefault(tuple(key), Tally())
            tally.count(durations, window.seconds, failed=is_failure(code))
    return found


def _is_fault(code: str) -> bool:
    from mesh.rpc.record import FAULTS

    return code in FAULTS or code == "RESOURCE_EXHAUSTED"
