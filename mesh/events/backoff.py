"""Pauses between tries: growing, capped, with full jitter."""

from __future__ import annotations

import random

__all__ = ["Backoff"]


class Backoff:
    """The next pause is anything up to `first_s`, then twice that, and so on, up to `cap_s`."""

    __slots__ = ("_bound_s", "_cap_s", "_first_s")

    def __init__(self, *, first_s: float, cap_s: float) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._bound_s = first_s

    def next(self) -> float:
        """Gives the next pause, in seconds."""
        pause_s = random.uniform(0, self._bound_s)  # noqa: S311
        self._bound_s = min(self._cap_s, self._bound_s * 2)
        return pause_s

    def reset(self) -> None:
        """Starts over, after a success."""
        self._bound_s = self._first_s
