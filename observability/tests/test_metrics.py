"""Instruments, and how Prometheus sees them."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from prometheus_client.openmetrics import parser

from observability import instruments, metrics
from observability.instruments import Counter, Gauge, Histogram


def test_a_histogram_counts_into_buckets() -> None:
    histogram = Histogram("rpc.server.call.duration", "s", "d", ("rpc.method",), (0.1, 1.0))
    cell = histogram.bind("a/b")
    for value in (0.1, 0.5, 7.0):
        cell.record(value)
    assert list(histogram.lines()) == [
        "# HELP rpc_server_call_duration_seconds d",
        "# TYPE rpc_server_call_duration_seconds histogram",
        'rpc_server_call_duration_seconds_bucket{rpc_method="a/b",le="0.1"} 1',
        'rpc_server_call_duration_seconds_bucket{rpc_method="a/b",le="1.0"} 2',
        'rpc_server_call_duration_seconds_bucket{rpc_method="a/b",le="+Inf"} 3',
        'rpc_server_call_duration_seconds_sum{rpc_method="a/b"} 7.6',
        'rpc_server_call_duration_seconds_count{rpc_method="a/b"} 3',
    ]


def test_no_count_is_lost_between_threads() -> None:
    cell = Counter("x", "1", "d").bind()

    def add() -> None:
        for _ in range(20_000):
            cell.add()

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cell.value == 80_000


def test_a_gauge_is_asked_when_it_is_read() -> None:
    gauge = Gauge("mesh.outbox.age", "s", "d", ("service",))
    age: float | None = 1.5
    gauge.observe(lambda: age, "accounts")
    gauge.set(2, "pix")
    assert list(gauge.lines())[2:] == [
        'mesh_outbox_age_seconds{service="accounts"} 1.5',
        'mesh_outbox_age_seconds{service="pix"} 2',
    ]
    age = None
    assert "accounts" not in "".join(gauge.lines())


def test_a_gauge_that_cannot_be_asked_is_left_out() -> None:
    gauge = Gauge("x", "1", "d")
    gauge.observe(lambda: 1 / 0)
    assert [line for line in gauge.lines() if not line.startswith("#")] == []


def test_attributes_without_end_end_in_one_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instruments, "MAX_CELLS", 10)
    counter = Counter("x", "{call}", "d", ("a",))
    for number in range(100):
        counter.add(1, str(number))
    text = "\n".join(counter.lines())
    assert 'x_total{a="_OTHER"} 90' in text
    assert len(text.splitlines()) == 13


def test_attributes_that_are_missing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rpc\.method"):
        metrics.RPC_SERVER_CALL_DURATION.bind("a/b")


def test_values_of_labels_are_escaped() -> None:
    counter = Counter("x", "{call}", "d", ("a",))
    counter.add(1, 'he said "no\\"\n')
    assert 'x_total{a="he said \\"no\\\\\\"\\n"} 1' in list(counter.lines())


def test_all_instruments_are_rendered_with_the_target() -> None:
    metrics.configure(service="transfers", version="1", instance="transfers-1")
    metrics.RPC_SERVER_CALL_DURATION.record(0.2, "a/b", "OK", "bff")
    text = metrics.render().decode()
    assert 'target_info{service_name="transfers",service_version="1"' in text
    labels = 'rpc_method="a/b",rpc_status_code="OK",mesh_caller="bff"'
    assert f"rpc_server_call_duration_seconds_count{{{labels}}}" in text
    assert "mesh_spans_dropped_total " in text
    assert "process_resident_memory_bytes" in text
    names = [instrument.name for instrument in metrics.INSTRUMENTS]
    assert len(names) == len(set(names))


def test_a_bucket_names_the_last_trace_that_fell_into_it() -> None:
    histogram = Histogram("x", "s", "d", (), (0.1, 1.0))
    for value, trace_id in ((0.2, 0xA), (0.3, 0xB), (0.4, 0), (5.0, 0xC)):
        histogram.record(value, trace_id=trace_id)

    assert [line.partition(" # ")[2] for line in histogram.lines(openmetrics=True)][2:5] == [
        "",
        f'{{trace_id="{0xB:032x}"}} 0.3',
        f'{{trace_id="{0xC:032x}"}} 5.0',
    ]
    assert not any(" # {" in line for line in histogram.lines())


def test_what_is_exposed_as_openmetrics_is_read_by_prometheus_own_reader() -> None:
    metrics.configure(service="transfers", version="1", instance="transfers-1")
    metrics.ADMISSION_REFUSED.add(1, "a/b", "OVERLOADED")
    metrics.HTTP_SERVER_REQUEST_DURATION.record(0.2, "GET", "/x", "200", trace_id=0xAB)

    kind, text = metrics.expose("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    reader: Any = parser
    families = {each.name: each for each in reader.text_string_to_metric_families(text.decode())}

    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    assert families["mesh_admission_refused"].type == "counter"
    exemplars = [
        sample.exemplar.labels
        for sample in families["http_server_request_duration_seconds"].samples
        if sample.exemplar
    ]
    assert {"trace_id": f"{0xAB:032x}"} in exemplars
    assert metrics.expose("*/*")[0].startswith("text/plain; version=0.0.4")
