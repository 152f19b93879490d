"""The port of a saga's journal. Pure: rules may import it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

__all__ = ["Journal"]

T = TypeVar("T")


class Journal(Protocol):
    """The steps that a saga has taken, and how each was answered."""

    async def step(self, name: str, action: Callable[[T], Awaitable[None]], argument: T, /) -> None:
        """Takes a step, unless the journal has its answer.

        Done and refused are answers, and are kept; a transient error is not, and the step is asked
        again, with a growing pause, until there is one. `name` is stored: a literal, never changed.

        Raises `Refused` as the step did, now or before a restart.
        """
