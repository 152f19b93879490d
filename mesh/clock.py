"""The time. UTC always; stored as microseconds since 1970, which no database rounds."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

__all__ = ["EPOCH", "from_us", "now_us", "to_us", "travel"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_ahead_us = 0


def now_us() -> int:
    """Tells the time, in microseconds since 1970."""
    return time.time_ns() // 1_000 + _ahead_us


def travel(ahead_us: int) -> None:
    """Sets how far this process's time is ahead of the machine's. For tests: see
    `mesh.testing.clock`.
    """
    global _ahead_us
    _ahead_us = ahead_us


def to_us(moment: datetime) -> int:
    """Converts an aware datetime to microseconds since 1970, exactly."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def from_us(microseconds: int) -> datetime:
    """Converts microseconds since 1970 to a datetime in UTC, exactly."""
    return EPOCH + timedelta(microseconds=microseconds)
