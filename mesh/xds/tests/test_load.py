from __future__ import annotations

from envoy.service.load_stats.v3.lrs_pb2 import LoadStatsRequest

from mesh.xds.load import KEPT_S, EdgeKey, LoadReports, Totals


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def a_report(cluster: str, issued: int, failed: int = 0, dropped: int = 0) -> LoadStatsRequest:
    report = LoadStatsRequest()
    stats = report.cluster_stats.add(cluster_name=cluster, total_dropped_requests=dropped)
    zone = stats.upstream_locality_stats.add(
        total_issued_requests=issued,
        total_successful_requests=issued - failed,
        total_error_requests=failed,
        total_requests_in_progress=3,
    )
    zone.locality.zone = "z1"
    return report


def test_reports_are_added_up_over_the_seconds_asked_for() -> None:
    clock = Clock()
    reports = LoadReports(clock)
    for _ in range(10):
        clock.now += 1
        reports.take("bff", "bff-1", a_report("accounts", issued=10, failed=1))

    assert reports.of("accounts", 4.5) == Totals(50, 45, 5, in_progress=3)
    assert reports.of("transfers", 4.5) == Totals()


def test_callers_are_told_apart_by_workload_and_process() -> None:
    reports = LoadReports(Clock())
    reports.take("bff", "bff-1", a_report("accounts", issued=1))
    reports.take("bff", "bff-2", a_report("accounts", issued=2))
    reports.take("pix", "pix-1", a_report("accounts", issued=4))

    found = reports.edges(10)

    assert {key.node_id: totals.issued for key, totals in found.items()} == {
        "bff-1": 1,
        "bff-2": 2,
        "pix-1": 4,
    }
    assert reports.of("accounts", 10).issued == 7


def test_calls_that_were_not_let_out_are_an_edge_without_a_zone() -> None:
    reports = LoadReports(Clock())
    reports.take("bff", "bff-1", a_report("accounts", issued=1, dropped=7))

    found = reports.edges(10)

    assert found[EdgeKey("bff", "bff-1", "accounts", "")] == Totals(dropped=7)
    assert reports.of("accounts", 10).dropped == 7


def test_what_is_older_than_five_minutes_is_forgotten() -> None:
    clock = Clock()
    reports = LoadReports(clock)
    reports.take("bff", "bff-1", a_report("accounts", issued=1))
    assert reports.window(60) == 0

    clock.now += KEPT_S

    assert reports.edges(2 * KEPT_S) == {}
    assert reports.window(2 * KEPT_S) == KEPT_S
