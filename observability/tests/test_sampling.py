"""Deciding which traces are recorded, and being told so."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from observability import tracing
from observability.sampling import RemoteSampler, Sampler, Strategy

PROBABILISTIC = {"strategyType": "PROBABILISTIC", "probabilisticSampling": {"samplingRate": 0.25}}
NOTHING: dict[str, Any] = {"strategyType": "PROBABILISTIC", "probabilisticSampling": {}}
BY_RATE = {"strategyType": "RATE_LIMITING", "rateLimitingSampling": {"maxTracesPerSecond": 2}}
BY_OPERATION = {
    "strategyType": "PROBABILISTIC",
    "probabilisticSampling": {"samplingRate": 1},
    "operationSampling": {
        "defaultSamplingProbability": 1,
        "perOperationStrategies": [
            {"operation": "health", "probabilisticSampling": {"samplingRate": 0}},
        ],
    },
}


class Jaeger(BaseHTTPRequestHandler):
    answer: bytes = b""

    def do_GET(self) -> None:
        self.send_response(200 if self.answer and self.path == "/sampling?service=pix" else 500)
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def jaeger() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Jaeger) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("answer", "strategy"),
    [
        (PROBABILISTIC, Strategy(0.25)),
        (NOTHING, Strategy(0)),
        (BY_RATE, Strategy(per_second=2)),
        (BY_OPERATION, Strategy(1, {"health": 0.0})),
    ],
)
def test_the_answers_of_jaeger_are_understood(answer: Any, strategy: Strategy) -> None:
    assert Strategy.read(answer) == strategy


@pytest.mark.parametrize(
    "answer", [{}, {"probabilisticSampling": {"samplingRate": 2}}, {"operationSampling": [1]}]
)
def test_an_answer_without_sense_is_none(answer: Any) -> None:
    with pytest.raises(ValueError, match=r"strategy|ratio"):
        Strategy.read(answer)


def test_an_operation_has_a_ratio_of_its_own() -> None:
    sampler = Sampler(Strategy(0.5, {"health": 0.0, "pay": 1.0}))
    ids = [number * 0x9E3779B97F4A7C15 & (1 << 128) - 1 for number in range(4_000)]
    assert not any(sampler.decide(trace_id, "health") for trace_id in ids)
    assert all(sampler.decide(trace_id, "pay") for trace_id in ids)
    assert 1_800 < sum(sampler.decide(trace_id, "other") for trace_id in ids) < 2_200


def test_a_rate_bounds_how_many_are_recorded() -> None:
    sampler = Sampler(Strategy(per_second=0.001))
    sampler._tokens = 1
    assert [sampler.decide(number, "any") for number in range(3)] == [True, False, False]


def test_a_strategy_is_followed_once_it_is_told_and_kept_while_nobody_tells(jaeger: str) -> None:
    sampler = Sampler(Strategy(1.0))
    remote = RemoteSampler(jaeger, "pix", sampler)

    Jaeger.answer = b""
    assert not remote.ask()
    assert sampler.strategy == Strategy(1.0)
    Jaeger.answer = json.dumps(NOTHING).encode()
    assert remote.ask()
    assert not sampler.decide(1, "any")
    Jaeger.answer = b"<html>"
    assert not remote.ask()
    assert sampler.strategy == Strategy(0)


def test_nobody_at_the_address_changes_nothing() -> None:
    sampler = Sampler(Strategy(0.5))
    assert not RemoteSampler("http://127.0.0.1:1", "pix", sampler).ask()
    assert sampler.strategy == Strategy(0.5)


def test_a_process_follows_what_its_jaeger_says(jaeger: str) -> None:
    Jaeger.answer = json.dumps(BY_OPERATION).encode()
    tracing.configure(service="pix", otlp_url="http://127.0.0.1:1", sampling_url=jaeger)
    try:
        deadline = time.monotonic() + 10
        while not tracing._pipeline.sampler.strategy.operations:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert not tracing.start_span("health", parent=None).is_recording()
        assert tracing.start_span("pay", parent=None).is_recording()
    finally:
        tracing.shutdown()
