from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest

from mesh.clock import from_us, now_us
from mesh.db import Database, UnitOfWork, sql
from mesh.errors import Transient
from mesh.events import Dead
from mesh.events.envelope import describe, seal
from mesh.events.jetstream import Jetstream
from mesh.events.loops import EventLoops
from mesh.events.relay import Relay
from mesh.events.stream import StreamSettings, create_stream, put
from mesh.testing.waiting import eventually
from observability import tracing
from observability.sampling import Sampler, Strategy
from observability.spans import RecordedSpan

from .contract import OrderPaid, OrderPlaced
from .shop import GREETING, ORDERS, place


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> list[RecordedSpan]:
    """All spans that have ended."""
    ended: list[RecordedSpan] = []
    sampler = Sampler(Strategy(1))
    pipeline = SimpleNamespace(exporter=object(), offer=ended.append, sampler=sampler)
    monkeypatch.setattr(tracing, "_pipeline", pipeline)
    return ended


def named(spans: list[RecordedSpan], name: str) -> list[RecordedSpan]:
    return [span for span in spans if span.name.startswith(name)]


async def test_an_event_joins_its_sender_and_its_consumers_in_one_trace(
    database: Database, jetstream: Jetstream, spans: list[RecordedSpan]
) -> None:
    loops = EventLoops(database, jetstream, "shop", [ORDERS], [GREETING])
    await loops.start()
    with tracing.span("request") as request:
        await database.transact(place, "a", 1)
    await eventually(lambda: len(named(spans, "process ")) == 2)
    await loops.stop()

    (sent,) = named(spans, "send ")
    processed = named(spans, "process ")
    template = "shop.orders.v1.OrderPlaced.{order_id}"
    assert sent.name == f"send {template}"
    assert sent.kind is tracing.SpanKind.PRODUCER
    assert sent.parent_id == request.get_span_context().span_id
    assert sent.attributes["messaging.system"] == "nats"
    assert sent.attributes["messaging.operation.type"] == "send"
    assert sent.attributes["messaging.destination.name"] == "shop.orders.v1.OrderPlaced.a"
    assert sent.attributes["messaging.destination.template"] == template
    for span in processed:
        assert span.name == f"process {template}"
        assert span.kind is tracing.SpanKind.CONSUMER
        assert (span.trace_id, span.parent_id) == (sent.trace_id, sent.span_id)
        assert [link.context.span_id for link in span.links or ()] == [sent.span_id]
        assert span.attributes["messaging.message.id"] == sent.attributes["messaging.message.id"]
        assert span.attributes["messaging.nats.stream"] == "ORDERS"
        assert span.attributes["messaging.nats.sequence"] == 1
        assert span.attributes["messaging.nats.delivery_count"] == 1
    groups = {span.attributes["messaging.consumer.group.name"] for span in processed}
    assert groups == {"shop-orders", "shop-greeting"}
    made = {span.span_id for span in spans if span.trace_id == sent.trace_id}
    orphans = [span for span in spans if span.trace_id == sent.trace_id and span.parent_id]
    assert all(span.parent_id in made for span in orphans)


async def test_after_a_crash_the_sender_has_the_span_that_its_event_names(
    database: Database, jetstream: Jetstream, spans: list[RecordedSpan]
) -> None:
    with tracing.span("request"):
        await database.transact(place, "a", 1)
    await Relay(database, jetstream).step()
    (before,) = named(spans, "send ")
    await database.transact(lambda work: work.execute(sql("UPDATE outbox SET sent_at_us = NULL")))
    await Relay(database, jetstream).step()
    _, after = named(spans, "send ")
    ids = [(span.trace_id, span.span_id, span.parent_id) for span in (before, after)]
    assert ids[0] == ids[1]


async def test_an_event_that_nobody_asked_for_begins_a_trace(
    database: Database, jetstream: Jetstream, spans: list[RecordedSpan]
) -> None:
    await database.transact(place, "a", 1)
    await Relay(database, jetstream).step()
    (sent,) = named(spans, "send ")
    assert sent.parent_id == 0


async def test_an_old_event_is_processed_in_a_trace_of_its_own_with_a_link(
    database: Database, jetstream: Jetstream, spans: list[RecordedSpan]
) -> None:
    connection = await jetstream.connection()
    await create_stream(connection, describe(OrderPlaced.DESCRIPTOR), StreamSettings())
    event = seal(OrderPlaced(order_id="a", number=1), source="shop")
    told_at = from_us(now_us() - 11 * 60 * 1_000_000).isoformat()
    headers = {**event.headers, "ce-time": told_at}
    await put(connection, [dataclasses.replace(event, headers=headers)])
    loops = EventLoops(database, jetstream, "shop", [], [GREETING])
    await loops.start()
    await eventually(lambda: len(named(spans, "process ")) == 1)
    await loops.stop()
    (span,) = named(spans, "process ")
    sender = tracing.parse(event.headers["traceparent"])
    assert sender is not None
    assert span.parent_id == 0
    assert span.trace_id != sender.trace_id
    assert span.attributes["bank.replay"] is True
    assert [link.context.span_id for link in span.links or ()] == [sender.span_id]


async def test_what_a_handler_tells_is_sent_by_a_child_of_its_span(
    database: Database, jetstream: Jetstream, spans: list[RecordedSpan]
) -> None:
    async def answer(work: UnitOfWork, event: object) -> None:
        work.publish(OrderPaid(order_id="a", number=1))

    reaction = dataclasses.replace(GREETING, on={OrderPlaced: answer})
    loops = EventLoops(database, jetstream, "shop", [], [reaction])
    await loops.start()
    await database.transact(place, "a", 1)
    await eventually(lambda: len(named(spans, "send ")) == 2)
    await loops.stop()
    _, told = named(spans, "send ")
    (processed,) = named(spans, "process ")
    assert (told.trace_id, told.parent_id) == (processed.trace_id, processed.span_id)


async def test_each_try_has_its_span_and_its_number_and_giving_up_has_one_too(
    database: Database, jetstream: Jetstream, spans: list[RecordedSpan]
) -> None:
    tries = 0

    async def answer(work: UnitOfWork, event: object) -> None:
        nonlocal tries
        tries += 1
        raise Transient("AWAY", "It is away.") if tries < 3 else Dead("BROKEN", "It is broken.")

    reaction = dataclasses.replace(GREETING, on={OrderPlaced: answer})
    loops = EventLoops(database, jetstream, "shop", [], [reaction])
    await loops.start()
    with tracing.span("request"):
        await database.transact(place, "a", 1)
    await eventually(lambda: len(named(spans, "park ")) == 1)
    await loops.stop()

    (sent,) = named(spans, "send ")
    processed, (parked,) = named(spans, "process "), named(spans, "park ")
    assert [span.attributes["mesh.messaging.attempt"] for span in processed] == [1, 2, 3]
    assert [span.attributes["error.type"] for span in processed] == [
        "Transient",
        "Transient",
        "Dead",
    ]
    for span in (*processed, parked):
        assert (span.trace_id, span.parent_id) == (sent.trace_id, sent.span_id)
    assert parked.attributes["messaging.consumer.group.name"] == "shop-greeting"
