"""Events of a shop, for these tests: the mesh knows no service's contract."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from meshapi.v1 import options_pb2

PACKAGE = "shop.orders.v1"


def _message(name: str, stream: str) -> descriptor_pb2.DescriptorProto:
    message = descriptor_pb2.DescriptorProto(name=name)
    message.field.add(name="order_id", number=1, type=9, label=1, json_name="orderId")
    message.field.add(name="number", number=2, type=3, label=1, json_name="number")
    if stream:
        option = message.options.Extensions[options_pb2.event]
        option.key = "order_id"
        option.stream = stream
    return message


_FILE = descriptor_pb2.FileDescriptorProto(
    name="shop/orders/v1/events.proto", package=PACKAGE, syntax="proto3"
)
_FILE.dependency.append("meshapi/v1/options.proto")
_FILE.message_type.extend(
    [_message("OrderPlaced", "ORDERS"), _message("OrderPaid", "ORDERS"), _message("Order", "")]
)
descriptor_pool.Default().Add(_FILE)


def _class(name: str) -> Any:
    found = descriptor_pool.Default().FindMessageTypeByName(f"{PACKAGE}.{name}")
    return message_factory.GetMessageClass(found)


OrderPlaced = _class("OrderPlaced")
OrderPaid = _class("OrderPaid")
Order = _class("Order")
