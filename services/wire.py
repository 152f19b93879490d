"""The shared kernel as it travels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from bank.money.v1 import money_pb2
from mesh.errors import InvalidArgument
from services.money import Money

__all__ = ["NEWEST", "from_wire", "page_start", "part_page", "timestamp", "to_wire"]

# Before this comes every id: where the first page of a list begins, the newest first.
NEWEST = "ffffffff-ffff-ffff-ffff-ffffffffffff"


class _Named(Protocol):
    @property
    def id(self) -> str: ...


N = TypeVar("N", bound=_Named)


def to_wire(money: Money) -> money_pb2.Money:
    return money_pb2.Money(minor_units=money.minor_units, currency_code=money.currency)


def from_wire(money: money_pb2.Money) -> Money:
    return Money(money.minor_units, money.currency_code)


def timestamp(microseconds: int) -> Timestamp:
    seconds, rest = divmod(microseconds, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1_000)


def page_start(page_token: str) -> str:
    """Reads before which id a page begins. Raises `InvalidArgument` for what is no page token."""
    try:
        return str(UUID(page_token)) if page_token else NEWEST
    except ValueError:
        raise InvalidArgument("PAGE_TOKEN_INVALID", "This is no page token.") from None


def part_page(found: Sequence[N], size: int) -> tuple[Sequence[N], str]:
    """Parts a page from the one more that was read to see whether there is another, and gives the
    token of that other; empty if there is none.
    """
    page = found[:size]
    return page, page[-1].id if len(found) > size else ""
