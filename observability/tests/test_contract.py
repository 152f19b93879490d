"""What the query API promises: of the embedded store, and of a real Jaeger at JAEGER_URL."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError

import pytest

from observability import tracing
from observability.client import Dependency, TraceClient, TraceNotFound, TraceStoreError
from observability.tests.conftest import Addresses, Eventually
from observability.tracing import SpanContext, SpanKind
from observability.tree import count_orphans, critical_path, render

CREATE = "bank.transfers.v1.TransfersService/CreateTransfer"


@dataclass(frozen=True)
class Story:
    """A trace over three services, with a failure, an async edge, a replay and an orphan."""

    trace_id: str
    replay_id: str
    bff: str
    transfers: str
    notifications: str


def _hex(context: SpanContext) -> str:
    return f"{context.trace_id:032x}"


def _tell(otlp: str) -> Story:
    """Tells the story to the collector at `otlp`, under names nobody else uses."""
    tag = secrets.token_hex(4)
    bff, transfers, notifications = (f"{name}-{tag}" for name in ("bff", "transfers", "notes"))
    tracing.configure(service=bff, version="1.2", instance=f"{bff}-1", otlp_url=otlp)
    with tracing.span("POST /v1/transfers", SpanKind.SERVER) as root:
        facts = {
            "rpc.method": CREATE,
            "rpc.status_code": "NOT_FOUND",
            "service.peer.name": transfers,
        }
        with tracing.span(CREATE, SpanKind.CLIENT, facts) as call:
            tracing.fail(call, "NOT_FOUND")
            header = tracing.traceparent()
    assert tracing.flush(10)
    tracing.configure(service=transfers, otlp_url=otlp)
    with tracing.span(CREATE, SpanKind.SERVER, {"bank.case": tag}, parent=tracing.parse(header)):
        producer = tracing.allocate()
        server = tracing.current_span().get_span_context()
    now_ns = time.time_ns()
    name = "send bank.transfers.v1.TransferFailed"
    tracing.record(name, SpanKind.PRODUCER, producer, server, now_ns, now_ns + 42)
    lost = SpanContext(producer.trace_id, 0xDEAD, True, producer.trace_flags)
    tracing.start_span("lost", parent=lost).end()
    assert tracing.flush(10)
    tracing.configure(service=notifications, otlp_url=otlp)
    name = "process bank.transfers.v1.TransferFailed"
    with tracing.span(name, SpanKind.CONSUMER, parent=producer, links=[producer]):
        pass
    with tracing.span(name, SpanKind.CONSUMER, parent=None, links=[producer]) as replay:
        replay.set_attribute("bank.replay", True)
    assert tracing.flush(10)
    return Story(
        _hex(root.get_span_context()),
        _hex(replay.get_span_context()),
        bff,
        transfers,
        notifications,
    )


@pytest.fixture
async def story(addresses: Addresses, client: TraceClient, eventually: Eventually) -> Story:
    told = await asyncio.to_thread(_tell, addresses.otlp)

    async def is_there() -> bool:
        return len((await client.get(told.trace_id)).spans) == 6

    await eventually(is_there)
    return told


async def fetch(addresses: Addresses, path: str, **parameters: str) -> tuple[int, Any]:
    url = f"{addresses.query}{path}?{urllib.parse.urlencode(parameters)}"

    def ask() -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return response.status, response.read()
        except HTTPError as error:
            with error:
                return error.code, error.read()

    status, body = await asyncio.to_thread(ask)
    return status, json.loads(body)


async def test_a_trace_comes_back_as_it_was_told(story: Story, client: TraceClient) -> None:
    trace = await client.get(story.trace_id)
    spans = {(span.service, span.kind): span for span in trace.spans if span.name != "lost"}
    assert set(spans) == {
        (story.bff, "server"),
        (story.bff, "client"),
        (story.transfers, "server"),
        (story.transfers, "producer"),
        (story.notifications, "consumer"),
    }
    root, call = spans[story.bff, "server"], spans[story.bff, "client"]
    send, process = spans[story.transfers, "producer"], spans[story.notifications, "consumer"]
    assert root.parent_id == ""
    assert call.parent_id == root.span_id
    assert spans[story.transfers, "server"].parent_id == call.span_id
    assert process.parent_id == send.span_id
    assert process.links == ((story.trace_id, send.span_id),)
    assert send.end_ns - send.start_ns == 42
    assert call.error
    assert not root.error
    assert call.attributes["error.type"] == "NOT_FOUND"
    assert root.instance == f"{story.bff}-1"


async def test_the_answer_is_otlp_json(story: Story, addresses: Addresses) -> None:
    status, answer = await fetch(addresses, f"/api/v3/traces/{story.trace_id}")
    assert status == 200
    spans = [
        span
        for group in answer["result"]["resourceSpans"]
        for scoped in group["scopeSpans"]
        for span in scoped["spans"]
    ]
    assert len(spans) == 6
    for span in spans:
        assert span["traceId"] == story.trace_id
        assert bytes.fromhex(span["spanId"])
        assert isinstance(span["kind"], int)
        assert isinstance(span["startTimeUnixNano"], str)


async def test_services_and_operations_are_listed(
    story: Story, client: TraceClient, addresses: Addresses
) -> None:
    assert {story.bff, story.transfers, story.notifications} <= set(await client.services())
    operations = await client.operations(story.bff)
    assert {each.name for each in operations} == {"POST /v1/transfers", CREATE}
    kinds = {(each.name, each.kind) for each in operations}
    # A Jaeger that keeps its traces in Badger knows operations without their kinds.
    if addresses.embedded or {kind for _, kind in kinds} != {"internal"}:
        assert kinds == {("POST /v1/transfers", "server"), (CREATE, "client")}
        assert [each.name for each in await client.operations(story.bff, "client")] == [CREATE]
    assert await client.operations("nobody") == []


async def test_a_trace_is_summed_up(story: Story, client: TraceClient) -> None:
    [summary] = await client.find(story.bff)
    assert summary.trace_id == story.trace_id
    assert summary.service == story.bff
    assert summary.operation == "POST /v1/transfers"
    assert (summary.spans, summary.errors, summary.orphans) == (6, 1, 1)
    assert set(summary.services) == {story.bff, story.transfers, story.notifications}


@pytest.mark.parametrize(
    ("parameters", "is_found"),
    [
        ({"operation": CREATE}, True),
        ({"operation": "other"}, False),
        ({"attributes": {"error": "true"}}, True),
        ({"attributes": {"rpc.status_code": "NOT_FOUND"}}, True),
        ({"attributes": {"rpc.status_code": "OK"}}, False),
        ({"attributes": {"rpc.status_code": "NOT_FOUND", "service.version": "1.2"}}, True),
        ({"max_duration_ms": 60_000}, True),
        ({"min_duration_ms": 60_000}, False),
        ({"until_ns": 1_000_000_000}, False),
    ],
)
async def test_traces_are_found_by_what_is_known(
    story: Story, client: TraceClient, parameters: dict[str, Any], is_found: bool
) -> None:
    found = await client.find(story.bff, **parameters)
    assert [summary.trace_id for summary in found] == ([story.trace_id] if is_found else [])


async def test_a_search_gives_whole_traces(story: Story, addresses: Addresses) -> None:
    times = {
        "query.startTimeMin": "2000-01-01T00:00:00Z",
        "query.startTimeMax": "2100-01-01T00:00:00.123456789+02:00",
    }
    status, answer = await fetch(
        addresses, "/api/v3/traces", **{"query.serviceName": story.transfers}, **times
    )
    assert status == 200
    services = {
        attribute["value"]["stringValue"]
        for group in answer["result"]["resourceSpans"]
        for attribute in group["resource"]["attributes"]
        if attribute["key"] == "service.name"
    }
    assert services == {story.bff, story.transfers, story.notifications}


async def test_the_older_shape_of_a_trace(story: Story, addresses: Addresses) -> None:
    status, answer = await fetch(addresses, f"/api/traces/{story.trace_id}")
    assert status == 200
    [trace] = answer["data"]
    assert trace["traceID"] == story.trace_id
    by_kind = {
        tag["value"]: span
        for span in trace["spans"]
        for tag in span["tags"]
        if tag["key"] == "span.kind" and span["operationName"] != "lost"
    }
    process = by_kind["consumer"]
    references: Sequence[dict[str, str]] = process["references"]
    # In this shape a parent that is a link too is one reference: Jaeger then says FOLLOWS_FROM.
    kinds = {reference["refType"] for reference in references}
    assert "CHILD_OF" in kinds or (not addresses.embedded and kinds == {"FOLLOWS_FROM"})
    assert {reference["spanID"] for reference in references} == {by_kind["producer"]["spanID"]}
    assert isinstance(process["startTime"], int)
    assert trace["processes"][process["processID"]]["serviceName"] == story.notifications
    errors = [tag["value"] for tag in by_kind["client"]["tags"] if tag["key"] == "error"]
    assert errors == [True]


async def test_the_async_edge_is_a_dependency(
    story: Story, client: TraceClient, eventually: Eventually
) -> None:
    wanted = {
        Dependency(story.bff, story.transfers, 1),
    }

    async def is_there() -> bool:
        return wanted <= set(await client.dependencies())

    await eventually(is_there)


async def test_what_is_not_there_is_not_found(addresses: Addresses, client: TraceClient) -> None:
    with pytest.raises(TraceNotFound):
        await client.get(secrets.token_hex(16))
    status, _ = await fetch(addresses, f"/api/v3/traces/{secrets.token_hex(16)}")
    assert status == 404
    status, _ = await fetch(addresses, f"/api/traces/{secrets.token_hex(16)}")
    assert status == 404


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/api/v3/trace-summaries", {}),
        (
            "/api/v3/trace-summaries",
            {"query.startTimeMin": "yesterday", "query.startTimeMax": "now"},
        ),
        ("/api/v3/traces/not-hex", {}),
    ],
)
async def test_what_cannot_be_read_is_400(
    addresses: Addresses, path: str, parameters: dict[str, str]
) -> None:
    status, answer = await fetch(addresses, path, **parameters)
    assert status == 400
    assert answer["error"]["httpCode"] == 400
    assert answer["error"]["message"]


async def test_a_store_that_is_away_is_told() -> None:
    with pytest.raises(TraceStoreError, match="does not answer"):
        await TraceClient("http://127.0.0.1:9").services()


async def test_the_tree_shows_failures_links_and_orphans(story: Story, client: TraceClient) -> None:
    trace = await client.get(story.trace_id)
    text = render(trace)
    lines = text.splitlines()
    assert story.trace_id in lines[0]
    assert "1 failed" in lines[0]
    assert any(
        line.startswith(f"├ {story.bff}→{story.transfers}") or "NOT_FOUND" in line for line in lines
    )
    assert any("⇢" in line and "(linked, +" in line for line in lines)
    assert any("orphan: parent 000000000000dead is missing" in line for line in lines)
    assert count_orphans(trace) == 1
    assert critical_path(trace)[0].name == "POST /v1/transfers"
    replay = render(await client.get(story.replay_id))
    assert f"(linked to trace {story.trace_id[:8]}" in replay
