from __future__ import annotations

from typing import Any

import pytest

from mesh.events import Event
from mesh.events.filters import MalformedFilter, compile_filter

from .contract import OrderPlaced

KIND = OrderPlaced.DESCRIPTOR


def fits(policy: dict[str, Any], order_id: str = "order-1", number: int = 7) -> bool:
    event = Event(
        id="1",
        type="shop.orders.v1.OrderPlaced",
        source="shop",
        subject="",
        key=order_id,
        version=0,
        time_us=0,
        traceparent="",
        data=OrderPlaced(order_id=order_id, number=number),
        stream="ORDERS",
        sequence=1,
    )
    return compile_filter(policy, KIND)(event)


@pytest.mark.parametrize(
    ("policy", "fitting"),
    [
        ({"order_id": ["order-1", "order-2"]}, True),
        ({"order_id": ["order-2"]}, False),
        ({"number": [7]}, True),
        ({"number": ["7"]}, False),
        ({"number": [True]}, False),
        ({"order_id": [{"prefix": "order-"}]}, True),
        ({"order_id": [{"suffix": "-2"}]}, False),
        ({"order_id": [{"equals-ignore-case": "ORDER-1"}]}, True),
        ({"order_id": [{"anything-but": ["order-1"]}]}, False),
        ({"order_id": [{"anything-but": "order-2"}]}, True),
        ({"order_id": [{"anything-but": {"prefix": "order"}}]}, False),
        ({"number": [{"anything-but": [1, 2]}]}, True),
        ({"number": [{"numeric": [">", 0, "<=", 7]}]}, True),
        ({"number": [{"numeric": [">", 7]}]}, False),
        ({"number": [{"numeric": ["=", 7]}, 9]}, True),
        ({"order_id": [{"exists": True}]}, True),
        ({"order_id": [{"exists": False}]}, False),
        ({"order_id": ["order-1"], "number": [8]}, False),
        ({"$or": [{"order_id": ["x"]}, {"number": [7]}]}, True),
        ({"$or": [{"order_id": ["x"]}, {"number": [8]}]}, False),
        ({"ce-type": [{"suffix": "OrderPlaced"}], "ce-source": ["shop"]}, True),
        ({"ce-subject": [{"prefix": "x"}]}, False),
    ],
)
def test_an_event_fits_as_with_sns(policy: dict[str, Any], fitting: bool) -> None:
    assert fits(policy) == fitting


def test_a_network_holds_its_addresses() -> None:
    policy = {"order_id": [{"cidr": "10.0.0.0/24"}]}

    assert fits(policy, order_id="10.0.0.77")
    assert not fits(policy, order_id="10.0.1.1")
    assert not fits(policy, order_id="somewhere")


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        ({}, "it is empty"),
        ({"colour": ["red"]}, "at colour: shop.orders.v1.OrderPlaced has no such field"),
        ({"order_id": "order-1"}, "a list of alternatives"),
        ({"order_id": []}, "a list of alternatives"),
        ({"order_id": [{"prefix": ""}]}, r"at order_id\[0\]: prefix takes a text"),
        ({"order_id": [{"matches": "x"}]}, "no operator matches"),
        ({"order_id": [{"prefix": "a", "suffix": "b"}]}, "neither a value nor one operator"),
        ({"order_id": [{"anything-but": {"numeric": [">", 1]}}]}, "takes no such operator"),
        ({"order_id": [{"anything-but": []}]}, "takes a value, or a list"),
        ({"number": [{"numeric": [">"]}]}, "one comparison or two"),
        ({"number": [{"numeric": ["~", 1]}]}, "knows no ~"),
        ({"number": [{"numeric": [">", "1"]}]}, "is no number"),
        ({"number": [{"numeric": [">", 5, "<", 5]}]}, "a lower bound, then a higher one"),
        ({"number": [{"exists": "yes"}]}, "true or false"),
        ({"order_id": ["x", {"exists": True}]}, "exists stands alone"),
        ({"order_id": [{"cidr": "10.0.0.0/99"}]}, "is no network"),
        ({"order_id": {"inner": [1]}}, "it is no message"),
        ({"$or": [{"number": [1]}]}, "two filters or more"),
        ({"$or": [{"number": [1]}, {}]}, r"at \$or\[1\]: it is not a filter"),
        ({"order_id": [str(n) for n in range(151)]}, "151 combinations"),
        ({"$or": [{"number": [1]}] * 6}, "6 fields; 5 are allowed"),
    ],
)
def test_a_malformed_filter_is_refused_with_its_place(policy: dict[str, Any], problem: str) -> None:
    with pytest.raises(MalformedFilter, match=problem):
        compile_filter(policy, KIND)
