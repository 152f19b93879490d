"""The checks of what is told of the bank itself: its traces and its log lines."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import cache, partial

from mesh.cli.findings import Examination, Finding, Level
from mesh.cli.sample import Sample, look, pages_of
from mesh.supervisor.problem import Problem
from mesh.supervisor.running import Running

__all__ = ["log_findings", "span_findings", "telemetry_examinations"]

# Spans are sent five times a second: so many wait only where nobody takes them.
MANY = 2_048


def telemetry_examinations(running: Running) -> dict[str, Examination]:
    """What is looked at, by name."""
    samples = cache(lambda: list(look(pages_of(running)).values()))
    return {
        "trace store": partial(_trace_store, running),
        "spans": lambda: span_findings(samples()),
        "log lines": lambda: log_findings(samples()),
    }


def _trace_store(running: Running) -> str:
    from observability.client import TraceClient, TraceStoreError

    url = running.endpoints.traces
    try:
        services = asyncio.run(TraceClient(url, timeout_s=3.0).services())
    except TraceStoreError as error:
        raise Problem("the trace store is away", f"{url}: {error}", "./bank logs traces") from None
    return f"it answers, and has spans of {len(services)} services"


def span_findings(samples: list[Sample]) -> Iterator[Finding]:
    """Tells whose spans wait or were lost, and how many were taken in all."""
    taken = 0.0
    for sample in samples:
        name = sample.page.instance
        taken += _sum(sample, "mesh_spans_exported_total")
        if (waiting := _sum(sample, "mesh_spans_queued")) > MANY:
            text = f"{name}: {waiting:.0f} wait, for the trace store does not take them"
            yield Finding("spans", text, Level.WARNING, "./bank logs traces")
        if lost := _sum(sample, "mesh_spans_dropped_total"):
            text = f"{name} has dropped {lost:.0f} since it started"
            yield Finding("spans", text, Level.WARNING, "./bank logs traces")
    yield Finding("spans", f"{taken:.0f} were taken")


def log_findings(samples: list[Sample]) -> Iterator[Finding]:
    """Tells whose lines were lost."""
    lost = {sample.page.instance: _sum(sample, "mesh_logs_dropped_total") for sample in samples}
    for name, count in lost.items():
        if count:
            text = f"{name} has lost {count:.0f}: nobody read them in time"
            yield Finding(
                "log lines", text, Level.WARNING, "./bank restart " + name.rpartition("-")[0]
            )
    if not any(lost.values()):
        yield Finding("log lines", "none was lost")


def _sum(sample: Sample, metric: str) -> float:
    return sum(value for _, value in sample.figures.of(metric))
