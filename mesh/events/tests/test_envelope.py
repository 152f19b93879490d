from __future__ import annotations

import pytest

from mesh.clock import now_us
from mesh.events.envelope import MAX_PAYLOAD, Undecodable, describe, open, seal

from .contract import Order, OrderPlaced


def test_an_envelope_is_what_cloudevents_says() -> None:
    before = now_us()
    envelope = seal(OrderPlaced(order_id="a-1", number=7), 3, source="shop")
    assert envelope.subject == "shop.orders.v1.OrderPlaced.a-1"
    headers = dict(envelope.headers)
    assert headers.pop("ce-time").endswith("Z")
    assert headers.pop("traceparent", None) is not None
    assert headers == {
        "Nats-Msg-Id": envelope.event_id,
        "ce-specversion": "1.0",
        "ce-id": envelope.event_id,
        "ce-type": "shop.orders.v1.OrderPlaced",
        "ce-source": "shop",
        "ce-subject": "a-1",
        "ce-sequence": "3",
        "content-type": "application/protobuf",
    }
    assert before <= envelope.created_at_us <= now_us()


@pytest.mark.parametrize("key", ["a", "a.b", "with space", "a*>", "ação", "chave@banco.example"])
def test_what_is_sealed_is_opened_again(key: str) -> None:
    sealed = seal(OrderPlaced(order_id=key, number=7), 3, source="shop")
    event = open(
        OrderPlaced,
        sealed.headers,
        sealed.payload,
        subject=sealed.subject,
        stream="ORDERS",
        sequence=9,
    )
    assert sealed.subject.count(".") == 4
    assert sealed.subject.isascii()
    assert (event.key, event.version, event.source) == (key, 3, "shop")
    assert event.data == OrderPlaced(order_id=key, number=7)
    assert event.time_us == sealed.created_at_us
    assert (event.stream, event.sequence, event.id) == ("ORDERS", 9, sealed.event_id)


def test_what_is_no_event_is_not_sealed() -> None:
    with pytest.raises(TypeError, match="not an event"):
        seal(Order(order_id="a"), source="shop")
    with pytest.raises(ValueError, match="has no order_id"):
        seal(OrderPlaced(), source="shop")
    with pytest.raises(ValueError, match="bytes"):
        seal(OrderPlaced(order_id="a" * MAX_PAYLOAD), source="shop")


def test_what_is_not_what_it_says_is_undecodable() -> None:
    sealed = seal(OrderPlaced(order_id="a"), source="shop")
    with pytest.raises(Undecodable):
        open(OrderPlaced, sealed.headers, b"\xff\xff")
    with pytest.raises(Undecodable):
        open(OrderPlaced, {**sealed.headers, "ce-sequence": "x"}, sealed.payload)
    with pytest.raises(Undecodable):
        open(OrderPlaced, {}, sealed.payload)


def test_the_contract_names_the_stream_and_its_subjects() -> None:
    kind = describe(OrderPlaced.DESCRIPTOR)
    assert kind.stream == "ORDERS"
    assert kind.subjects == "shop.orders.v1.OrderPlaced.*"
    assert kind.stream_subjects == "shop.orders.v1.>"
    assert kind.template == "shop.orders.v1.OrderPlaced.{order_id}"
