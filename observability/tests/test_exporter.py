"""The exporter: a collector that is away costs spans, and nothing else."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from observability import tracing


class Collector(ThreadingHTTPServer):
    """Takes batches and answers with `status`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.spans: list[dict[str, Any]] = []
        self.requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        assert self.path == "/v1/traces"
        assert self.headers["Content-Type"] == "application/json"
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests += 1
        if self.server.status == 200:
            for group in body["resourceSpans"]:
                for scoped in group["scopeSpans"]:
                    self.server.spans += scoped["spans"]
        self.send_response(self.server.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    tracing.shutdown()
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def refusing() -> Iterator[str]:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    yield url


@contextmanager
def silent() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def deaf() -> Iterator[str]:
    """An address from which no packet comes back: its queue of connections is full."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def black_hole() -> Iterator[str]:
    with silent() as url:
        yield url
        tracing.shutdown()


def test_spans_arrive_in_batches(collector: Collector) -> None:
    tracing.configure(service="test", otlp_url=collector.url)
    for _ in range(3_000):
        tracing.start_span("work").end()
    assert tracing.flush(20)
    assert len(collector.spans) == 3_000
    assert collector.requests < 100
    assert tracing.figures() == tracing.Figures(exported=3_000, dropped=0, queued=0)


def test_what_waits_is_sent_at_shutdown(collector: Collector) -> None:
    tracing.configure(service="test", otlp_url=collector.url)
    tracing.start_span("last words").end()
    tracing.shutdown(10)
    assert [span["name"] for span in collector.spans] == ["last words"]


@pytest.mark.parametrize("hole", [refusing, silent, deaf])
def test_a_collector_that_takes_nothing_costs_nothing_but_spans_which_are_counted(
    hole: Callable[[], AbstractContextManager[str]],
) -> None:
    with hole() as url:
        tracing.configure(service="test", otlp_url=url, capacity=100)
        for _ in range(5_000):
            tracing.start_span("work").end()
        figures = tracing.figures()
        assert figures.exported == 0
        assert figures.dropped + figures.queued == 5_000
        assert figures.queued <= 1_200
        tracing.shutdown(0.05)


def test_a_collector_that_never_answers_does_not_delay_the_exit(black_hole: str) -> None:
    tracing.configure(service="test", otlp_url=black_hole)
    tracing.start_span("work").end()
    loop_ran = False

    async def leave() -> None:
        nonlocal loop_ran
        leaving = asyncio.create_task(tracing.shutdown_async(0.3))
        await asyncio.sleep(0)
        loop_ran = True
        async with asyncio.timeout(5):
            await leaving

    asyncio.run(leave())
    assert loop_ran


def test_spans_wait_for_a_collector_that_comes_later(collector: Collector) -> None:
    collector.status = 503
    tracing.configure(service="test", otlp_url=collector.url)
    tracing.start_span("early").end()
    assert not tracing.flush(0.3)
    assert tracing.figures().queued == 1
    collector.status = 200
    assert tracing.flush(20)
    assert [span["name"] for span in collector.spans] == ["early"]


def test_a_batch_that_is_refused_is_dropped_and_counted(collector: Collector) -> None:
    collector.status = 400
    tracing.configure(service="test", otlp_url=collector.url)
    tracing.start_span("work").end()
    assert tracing.flush(20)
    assert tracing.figures() == tracing.Figures(exported=0, dropped=1, queued=0)
    assert collector.requests == 1


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="not an http"):
        tracing.configure(service="test", otlp_url="localhost:4318")
