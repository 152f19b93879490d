"""What tracing costs: spans, their encoding, log lines and metrics, and the store's intake.

`python -m benchmarks.tracing` prints a table. Each figure is the best of some repeats, on one
core; the OpenTelemetry SDK and its OTLP JSON encoder are measured beside ours, in the same run.
"""

from __future__ import annotations

import asyncio
import gzip
import http.client
import importlib
import os
import re
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

from observability import logs, metrics, tracing
from observability.client import TraceClient
from observability.otlp import Encoder
from observability.spans import RecordedSpan
from observability.tracing import SpanKind

ROOT = Path(__file__).parents[1]

NAME = "bank.transfers.v1.TransfersService/CreateTransfer"
FACTS: dict[str, str | int] = {
    "rpc.system.name": "grpc",
    "rpc.method": NAME,
    "server.address": "xds:///transfers",
    "network.peer.address": "127.0.0.1",
    "network.peer.port": 51_234,
    "service.peer.name": "bff",
}
HEADER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BATCHES, SPANS_PER_BATCH = 120, 512


def measure(title: str, work: Callable[[], object], *, per: int = 1, number: int = 20_000) -> None:
    """Prints the time of one piece of work in microseconds."""
    best = min(timeit.repeat(work, number=number, repeat=5)) / number / per
    print(f"{title:<58} {best * 1e6:8.2f} µs")


def ours() -> None:
    """Spans, encoding, headers."""
    kept: list[RecordedSpan] = []
    tracing.configure(service="bench", otlp_url="http://127.0.0.1:9", capacity=0)
    parent = tracing.parse(HEADER)

    def span() -> tracing.Span:
        started = tracing.start_span(NAME, SpanKind.SERVER, FACTS, parent)
        started.set_attribute("rpc.status_code", "OK")
        started.end()
        return started

    def block() -> None:
        with tracing.span(NAME, SpanKind.SERVER, FACTS) as current:
            current.set_attribute("rpc.status_code", "OK")

    measure("span: start, 7 attributes, end", span)
    measure("span: the same as the current one of a block", block)
    measure("traceparent: parse", lambda: tracing.parse(HEADER))
    with tracing.span("outer"):
        measure("traceparent: write", tracing.traceparent)
    for _ in range(1_000):
        made = span()
        assert isinstance(made, RecordedSpan)
        kept.append(made)
    tracing.configure(service="bench", otlp_url=None)
    measure("span: not recorded", span)
    encoder = Encoder({"service.name": "bench"})

    def encode() -> bytes:
        return encoder.body((each.scope, encoder.span(each)) for each in kept)

    measure("OTLP JSON: encode, per span", encode, per=len(kept), number=20)
    body = encode()
    measure(
        "OTLP JSON: gzip level 1, per span", lambda: gzip.compress(body, 1), per=1_000, number=20
    )
    print(f"{'OTLP JSON: size, per span':<58} {len(body) / len(kept):8.0f} B")


def theirs() -> None:
    """The same with the OpenTelemetry SDK."""
    sdk: Any = importlib.import_module("opentelemetry.sdk.trace")
    export: Any = importlib.import_module("opentelemetry.sdk.trace.export")
    common: Any = importlib.import_module("opentelemetry.exporter.otlp.json.common.trace_encoder")

    kept: list[Any] = []

    def keep(span: Any) -> None:
        if len(kept) < 1_000:
            kept.append(span)

    keeper = export.SpanProcessor()
    keeper.on_end = keep
    provider = sdk.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(keeper)
    tracer = provider.get_tracer("bench")

    def span() -> None:
        started = tracer.start_span(NAME, kind=SpanKind.SERVER, attributes=FACTS)
        started.set_attribute("rpc.status_code", "OK")
        started.end()

    measure("OpenTelemetry SDK: start, 7 attributes, end", span)
    encoded = common.encode_spans
    measure("OpenTelemetry SDK: OTLP JSON, per span", lambda: encoded(kept), per=1_000, number=3)


def others() -> None:
    """A log line, a histogram's record."""
    with open(os.devnull, "wb") as nowhere:
        logs.configure(service="bench", descriptor=nowhere.fileno())
        facts = {"rpc_method": NAME, "status": "OK", "duration_ms": 1.25, "caller": "bff"}
        measure(
            "log line: emit", lambda: logs.emit("info", "mesh.rpc", "call", facts), number=1_000
        )
        logger = logs.get_logger("mesh.rpc")
        measure(
            "log line: standard library", lambda: logger.info("call", extra=facts), number=1_000
        )
        logs.shutdown(5)
    cell = metrics.RPC_SERVER_CALL_DURATION.bind(NAME, "OK", "bff")
    measure("histogram: record in a bound cell", lambda: cell.record(0.003))
    sdk: Any = importlib.import_module("opentelemetry.sdk.metrics")
    export: Any = importlib.import_module("opentelemetry.sdk.metrics.export")
    provider = sdk.MeterProvider([export.InMemoryMetricReader()], shutdown_on_exit=False)
    histogram = provider.get_meter("bench").create_histogram("rpc.server.call.duration", "s")
    labels = {"rpc.method": NAME, "rpc.status_code": "OK"}
    measure("OpenTelemetry SDK: histogram record", lambda: histogram.record(0.003, labels))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _batch() -> bytes:
    kept: list[RecordedSpan] = []
    encoder = Encoder({"service.name": "bench"})
    tracing.configure(service="bench", otlp_url="http://127.0.0.1:9", capacity=0)
    for _ in range(SPANS_PER_BATCH // 16):
        with tracing.span("root", SpanKind.SERVER, FACTS) as root:
            for _ in range(15):
                child = tracing.start_span(NAME, SpanKind.CLIENT, FACTS)
                child.end()
                assert isinstance(child, RecordedSpan)
                kept.append(child)
        assert isinstance(root, RecordedSpan)
        kept.append(root)
    return encoder.body((each.scope, encoder.span(each)) for each in kept)


def store() -> None:
    """The store: how fast it takes spans, what that costs it, how fast they are found."""
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", "observability.tracestore", "--data", data]
        process = subprocess.Popen(
            [*command, "--port", "0", "--otlp-port", "0", "--nice", "0"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            query, otlp = re.findall(r"http://[\d.:]+", process.stdout.readline())
            _store(process.pid, query, otlp)
        finally:
            process.terminate()
            process.communicate(timeout=30)


def _store(pid: int, query: str, otlp: str) -> None:
    batches = [_batch() for _ in range(BATCHES)]
    total = BATCHES * SPANS_PER_BATCH
    client = TraceClient(query, timeout_s=60)
    asyncio.run(client.services())
    cpu, start = _cpu_s(pid), time.perf_counter()
    connection = http.client.HTTPConnection(otlp.removeprefix("http://"), timeout=30)
    for body in batches:
        while True:
            connection.request("POST", "/v1/traces", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            response.read()
            if response.status == 200:
                break
            time.sleep(0.05)
    connection.close()
    took = time.perf_counter() - start
    print(f"{'store: spans accepted per second, one sender':<58} {total / took:8.0f}")
    spent = (_cpu_s(pid) - cpu) / total * 1e6
    print(f"{'store: CPU until accepted, per span':<58} {spent:8.2f} µs")
    start = time.perf_counter()
    found = asyncio.run(client.find("bench", limit=20))
    took = time.perf_counter() - start
    print(f"{'store: first query, with the backlog read':<58} {took * 1e3:8.0f} ms")
    spent = (_cpu_s(pid) - cpu) / total * 1e6
    print(f"{'store: CPU until found, per span':<58} {spent:8.2f} µs")
    for title, work in (
        ("store: search of 20 traces", lambda: client.find("bench", limit=20)),
        ("store: one trace", lambda: client.get(found[0].trace_id)),
    ):
        start = time.perf_counter()
        asyncio.run(work())
        print(f"{title:<58} {(time.perf_counter() - start) * 1e3:8.1f} ms")
    rss = int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0])
    print(f"{'store: resident memory':<58} {rss / 1024:8.0f} MB")


def main() -> None:
    """Measures everything."""
    for part in (ours, theirs, others, store):
        part()
    tracing.shutdown()


if __name__ == "__main__":
    main()
