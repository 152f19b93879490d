"""Time that a test moves: everything of this process that asks `mesh.clock` is taken along."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mesh.clock import now_us, travel

__all__ = ["Travel", "travelling"]


class Travel:
    """How far the time of a test is ahead."""

    def __init__(self) -> None:
        self.ahead_us = 0

    def by(self, microseconds: int) -> None:
        """Moves the time on."""
        self.ahead_us += microseconds
        travel(self.ahead_us)

    def to(self, moment_us: int) -> None:
        """Moves the time to a moment, in microseconds since 1970."""
        self.by(moment_us - now_us())


@contextmanager
def travelling() -> Iterator[Travel]:
    """Gives a time to move; at the end of the block it is the machine's again."""
    try:
        yield Travel()
    finally:
        travel(0)
