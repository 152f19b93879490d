"""The shared kernel as it travels."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from bank.money.v1 import money_pb2
from services.money import Money

__all__ = ["from_wire", "timestamp", "to_wire"]


def to_wire(money: Money) -> money_pb2.Money:
    return money_pb2.Money(minor_units=money.minor_units, currency_code=money.currency)


def from_wire(money: money_pb2.Money) -> Money:
    return Money(money.minor_units, money.currency_code)


def timestamp(microseconds: int) -> Timestamp:
    seconds, rest = divmod(microseconds, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1_000)
