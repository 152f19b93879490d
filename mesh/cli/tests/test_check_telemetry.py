"""What check finds of spans and log lines, from the pages of processes."""

from __future__ import annotations

from mesh.cli.check_telemetry import log_findings, span_findings
from mesh.cli.figures import Figures
from mesh.cli.findings import Level
from mesh.cli.sample import Page, Sample

PAGE = Page("bff", "bff-1", "", "", "READY")


def sample(**metrics: int) -> Sample:
    text = "\n".join(f"{name} {value}" for name, value in metrics.items())
    return Sample(PAGE, 0.0, Figures.parse(text), [])


def test_spans_that_wait_or_are_lost_are_told() -> None:
    well = sample(mesh_spans_exported_total=7, mesh_spans_queued=3, mesh_spans_dropped_total=0)
    ill = sample(mesh_spans_exported_total=1, mesh_spans_queued=8000, mesh_spans_dropped_total=5)

    assert [each.level for each in span_findings([well])] == [Level.OK]
    waits, lost, taken = span_findings([well, ill])
    assert "8000 wait" in waits.found
    assert "dropped 5" in lost.found
    assert {waits.level, lost.level} == {Level.WARNING}
    assert taken.found == "8 were taken"


def test_lines_that_are_lost_are_told() -> None:
    assert [each.found for each in log_findings([sample(mesh_logs_dropped_total=0)])] == [
        "none was lost"
    ]
    (lost,) = log_findings([sample(mesh_logs_dropped_total=2)])
    assert lost.level is Level.WARNING
