"""Spans: what is recorded, what is inherited, what crosses a border."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from opentelemetry import trace

from observability import tracing
from observability.otlp import Encoder
from observability.spans import RecordedSpan
from observability.tracing import SpanKind

HEADER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[RecordedSpan]:
    """What is offered to the exporter, in the order of ending."""
    spans: list[RecordedSpan] = []
    monkeypatch.setattr("observability.exporter.Exporter.offer", lambda _, span: spans.append(span))
    tracing.configure(service="test", otlp_url="http://127.0.0.1:1")
    return spans


def encoded(span: RecordedSpan) -> dict[str, Any]:
    encoder = Encoder({"service.name": "test"})
    document = json.loads(encoder.body([(span.scope, encoder.span(span))]))
    [group] = document["resourceSpans"]
    [scoped] = group["scopeSpans"]
    [result] = scoped["spans"]
    assert isinstance(result, dict)
    return result


def attributes(span: RecordedSpan) -> dict[str, Any]:
    return {each["key"]: each["value"] for each in encoded(span)["attributes"]}


def test_a_span_is_encoded_as_otlp_json_wants_it(recorded: list[RecordedSpan]) -> None:
    facts = {"rpc.method": "a/b", "rpc.n": 7, "rpc.x": 1.5, "rpc.ok": True, "rpc.l": ["a", 1]}
    with tracing.span("outer") as outer, tracing.span("inner", SpanKind.SERVER, facts):
        pass
    inner = encoded(recorded[0])
    context = outer.get_span_context()
    assert inner["traceId"] == f"{context.trace_id:032x}"
    assert inner["parentSpanId"] == f"{context.span_id:016x}"
    assert len(inner["spanId"]) == 16
    assert inner["kind"] == 2
    assert isinstance(inner["startTimeUnixNano"], str)
    assert int(inner["endTimeUnixNano"]) >= int(inner["startTimeUnixNano"])
    assert attributes(recorded[0]) == {
        "rpc.method": {"stringValue": "a/b"},
        "rpc.n": {"intValue": "7"},
        "rpc.x": {"doubleValue": 1.5},
        "rpc.ok": {"boolValue": True},
        "rpc.l": {"arrayValue": {"values": [{"stringValue": "a"}, {"intValue": "1"}]}},
    }
    assert "parentSpanId" not in encoded(recorded[1])


def test_a_child_has_the_parent_s_trace_and_a_root_has_its_own(
    recorded: list[RecordedSpan],
) -> None:
    with tracing.span("parent") as parent:
        with tracing.span("child"):
            pass
        with tracing.span("root", parent=None):
            pass
    child, root, _ = recorded
    assert child.trace_id == parent.get_span_context().trace_id
    assert root.trace_id != child.trace_id
    assert root.parent_id == 0


def test_the_current_span_follows_the_task(recorded: list[RecordedSpan]) -> None:
    async def branch(name: str) -> None:
        with tracing.span(name):
            await asyncio.sleep(0)
            with tracing.span(f"{name}.below"):
                await asyncio.sleep(0)

    async def both() -> None:
        await asyncio.gather(branch("a"), branch("b"))

    asyncio.run(both())
    spans = {span.name: span for span in recorded}
    assert spans["a.below"].parent_id == spans["a"].span_id
    assert spans["b.below"].parent_id == spans["b"].span_id
    assert spans["a"].trace_id != spans["b"].trace_id


def test_traceparent_crosses_a_border(recorded: list[RecordedSpan]) -> None:
    with tracing.span("client") as client:
        header = tracing.traceparent()
    tracing.start_span("server", SpanKind.SERVER, parent=tracing.parse(header)).end()
    server = recorded[1]
    assert server.trace_id == client.get_span_context().trace_id
    assert server.parent_id == client.get_span_context().span_id
    assert tracing.traceparent() is None


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "x" * 100_000,
        HEADER.upper(),
        HEADER[:-1],
        f"{HEADER}-more",
        f" {HEADER}",
        f"{HEADER}\n",
        HEADER.replace("00-", "ff-", 1),
        HEADER.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        HEADER.replace("b7ad6b7169203331", "0" * 16),
        HEADER.replace("0af7", "0x_7"),
        HEADER.replace("0af7", "\uff10af7"),
        "00-<script>-b7ad6b7169203331-01",
    ],
)
def test_a_hostile_traceparent_begins_a_new_trace(
    recorded: list[RecordedSpan], header: str | None
) -> None:
    assert tracing.parse(header) is None
    tracing.start_span("server", parent=tracing.parse(header)).end()
    assert recorded[0].parent_id == 0
    assert f"{recorded[0].trace_id:032x}" != "0af7651916cd43dd8448eb211c80319c"


def test_a_call_continues_its_caller_s_trace_and_is_current_for_its_task(
    recorded: list[RecordedSpan],
) -> None:
    async def answer() -> None:
        span = tracing.continue_trace("call", tracing.SpanKind.SERVER, None, header)
        tracing.enter(span)
        assert tracing.current_span() is span
        with tracing.span("inside"):
            pass
        span.end()

    async def serve() -> None:
        await asyncio.create_task(answer())
        assert not tracing.current_span().get_span_context().is_valid

    header = f"00-{'a' * 32}-{'b' * 16}-01"
    asyncio.run(serve())
    inside, call = recorded
    assert f"{call.trace_id:032x}" == "a" * 32
    assert f"{call.parent_id:016x}" == "b" * 16
    assert inside.parent_id == call.span_id
    unsampled = tracing.continue_trace("call", tracing.SpanKind.SERVER, None, header[:-1] + "0")
    assert not unsampled.is_recording()
    assert unsampled.get_span_context().trace_id == call.trace_id
    root = tracing.continue_trace("call", tracing.SpanKind.SERVER, None, None)
    assert root.get_span_context().trace_id != call.trace_id


def test_a_later_version_of_traceparent_is_understood() -> None:
    parsed = tracing.parse(HEADER.replace("00-", "cc-", 1) + "-what-the-future-brings")
    assert parsed is not None
    assert f"{parsed.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"


def test_what_is_not_sampled_is_not_recorded_but_keeps_its_trace(
    recorded: list[RecordedSpan],
) -> None:
    unsampled = tracing.parse(HEADER[:-1] + "0")
    with tracing.span("server", parent=unsampled) as server, tracing.span("below") as below:
        assert not server.is_recording()
        assert not below.is_recording()
        assert tracing.traceparent() == f"{HEADER[:-1]}0"
    assert recorded == []


def test_the_ratio_decides_at_the_root(recorded: list[RecordedSpan]) -> None:
    tracing.configure(service="test", otlp_url="http://127.0.0.1:1", sample_ratio=0.5)
    for _ in range(2_000):
        with tracing.span("root"), tracing.span("child"):
            pass
    assert 1_600 < len(recorded) < 2_400
    assert len({span.trace_id for span in recorded}) * 2 == len(recorded)


def test_without_a_collector_nothing_is_recorded_and_logs_still_have_a_trace() -> None:
    tracing.configure(service="test", otlp_url=None)
    with tracing.span("root") as root, tracing.span("child") as child:
        assert not root.is_recording()
        ids = {span.get_span_context().trace_id for span in (root, child)}
    assert len(ids) == 1
    assert 0 not in ids


def test_a_bug_is_recorded_by_its_type_alone(recorded: list[RecordedSpan]) -> None:
    with pytest.raises(ValueError, match="Ana"), tracing.span("work"):
        raise ValueError("Ana, 123.456.789-09")
    span = encoded(recorded[0])
    assert span["status"] == {"code": 2}
    assert attributes(recorded[0])["error.type"] == {"stringValue": "ValueError"}
    assert "Ana" not in json.dumps(span)


def test_an_error_that_is_told_keeps_its_message(recorded: list[RecordedSpan]) -> None:
    def work() -> None:
        with tracing.span("work") as span:
            tracing.fail(span, "OVERSPENT", "The account has not enough.")
            raise LookupError

    with pytest.raises(LookupError):
        work()
    assert encoded(recorded[0])["status"] == {"code": 2, "message": "The account has not enough."}
    assert attributes(recorded[0])["error.type"] == {"stringValue": "OVERSPENT"}


def test_cancellation_marks_the_span(recorded: list[RecordedSpan]) -> None:
    with pytest.raises(asyncio.CancelledError), tracing.span("work"):
        raise asyncio.CancelledError
    assert recorded[0].error is True


def test_code_for_the_opentelemetry_api_joins(recorded: list[RecordedSpan]) -> None:
    tracer = trace.get_tracer("library", "2.0")
    with tracing.span("ours") as ours:
        with tracer.start_as_current_span("theirs", kind=SpanKind.CLIENT) as theirs:
            assert trace.get_current_span() is theirs
            with tracing.span("ours again"):
                pass
        assert trace.get_current_span() is ours
    again, library, first = recorded
    assert library.scope == ("library", "2.0")
    assert library.parent_id == first.span_id
    assert again.parent_id == library.span_id
    assert len({span.trace_id for span in recorded}) == 1


def test_the_opentelemetry_api_does_not_leak_messages(recorded: list[RecordedSpan]) -> None:
    tracer = trace.get_tracer("library")
    with pytest.raises(ValueError, match="Ana"), tracer.start_as_current_span("work"):
        raise ValueError("Ana")
    span = encoded(recorded[0])
    assert span["status"] == {"code": 2}
    [event] = span["events"]
    assert event["name"] == "exception"
    assert [each["key"] for each in event["attributes"]] == ["exception.type"]
    assert "Ana" not in json.dumps(span)


async def test_a_decorated_coroutine_is_one_span(recorded: list[RecordedSpan]) -> None:
    @trace.get_tracer("library").start_as_current_span("work")
    async def work() -> int:
        await asyncio.sleep(0)
        return 1

    assert await work() == 1
    assert await work() == 1
    assert len({span.span_id for span in recorded}) == 2


def test_ids_are_allocated_ahead_and_the_span_is_recorded_later(
    recorded: list[RecordedSpan],
) -> None:
    with tracing.span("request") as request:
        context = tracing.allocate()
    header = tracing.format_traceparent(context)
    assert header == f"00-{context.trace_id:032x}-{context.span_id:016x}-01"
    parent = request.get_span_context()
    tracing.record(
        "send x", SpanKind.PRODUCER, context, parent, 1_000, 3_000, {"messaging.system": "nats"}
    )
    span = recorded[1]
    assert (span.trace_id, span.span_id) == (context.trace_id, context.span_id)
    assert span.parent_id == parent.span_id
    assert (span.start_ns, span.end_ns) == (1_000, 3_000)


def test_what_was_allocated_in_an_unsampled_trace_is_not_recorded(
    recorded: list[RecordedSpan],
) -> None:
    context = tracing.allocate(tracing.parse(HEADER[:-1] + "0"))
    tracing.record("send x", SpanKind.PRODUCER, context, None, 1, 2)
    assert recorded == []


def test_links_point_to_spans_and_invalid_ones_are_left_out(recorded: list[RecordedSpan]) -> None:
    linked = tracing.parse(HEADER)
    assert linked is not None
    invalid = trace.INVALID_SPAN_CONTEXT
    with tracing.span("process", SpanKind.CONSUMER, links=[linked, invalid]) as span:
        span.add_link(linked)
    links = encoded(recorded[0])["links"]
    assert [link["spanId"] for link in links] == ["b7ad6b7169203331"] * 2


def test_a_span_that_ended_does_not_change(recorded: list[RecordedSpan]) -> None:
    span = tracing.start_span("work")
    span.end()
    span.end()
    span.set_attribute("rpc.method", "late")
    span.add_event("late")
    span.update_name("late")
    tracing.fail(span, "late")
    assert not span.is_recording()
    assert len(recorded) == 1
    assert encoded(recorded[0]).keys().isdisjoint({"status", "events"})
    assert encoded(recorded[0])["name"] == "work"


def test_shared_attributes_are_not_written_to(recorded: list[RecordedSpan]) -> None:
    shared = {"rpc.method": "a/b"}
    with tracing.span("work", attributes=shared) as span:
        span.set_attribute("rpc.status_code", "OK")
    assert shared == {"rpc.method": "a/b"}


def test_contents_and_unknown_attributes_stay_inside(recorded: list[RecordedSpan]) -> None:
    facts = {
        "url.full": "https://x/?cpf=1",
        "url.query": "cpf=1",
        "customer": "Ana",
        "http.request.header.authorization": "secret",
        "rpc.request.metadata.authorization": "secret",
        "db.query.parameter.0": "Ana",
        "http.route": "/v1/transfers",
    }
    with tracing.span("work", attributes=facts):
        pass
    assert set(attributes(recorded[0])) == {"http.route"}


def test_personal_patterns_are_masked(recorded: list[RecordedSpan]) -> None:
    with tracing.span(
        "paid 123.456.789-09", attributes={"bank.note": "to ana@example.com"}
    ) as span:
        tracing.fail(span, "X", "CPF 12345678909 is not known")
    text = json.dumps(encoded(recorded[0]))
    for secret in ("123.456.789-09", "12345678909", "ana@example.com"):
        assert secret not in text


def test_hostile_values_are_cut_and_never_an_error(recorded: list[RecordedSpan]) -> None:
    facts: dict[str, Any] = {f"rpc.a{number}": number for number in range(1_000)}
    facts |= {
        "mesh.huge": "x" * 1_000_000,
        "mesh.surrogate": "\ud800",
        "mesh.control": '\x00"\\\n',
        "mesh.nan": float("nan"),
        "mesh.vast": 1 << 80,
        "mesh.object": object(),
    }
    with tracing.span("n" * 100_000, attributes=dict(reversed(facts.items()))) as span:
        for number in range(1_000):
            span.add_event(f"event {number}")
    result = encoded(recorded[0])
    assert len(json.dumps(result)) < 20_000
    assert attributes(recorded[0])["mesh.nan"] == {"doubleValue": "NaN"}
    assert "mesh.object" not in attributes(recorded[0])
